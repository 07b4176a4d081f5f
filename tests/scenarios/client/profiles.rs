use std::os::unix::fs::PermissionsExt;

use super::{User, start};

#[tokio::test]
async fn a_profile_is_verified_stored_and_used() {
    let (_server, user) = start().await;
    user.done(&["login", "--url", &user.environment[0].1]).await;
    let path = user.folder.path().join("agentidp/config.toml");
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let profiles = user.done(&["profiles"]).await;
    assert!(profiles.contains("\"default\"") && !profiles.contains("aidp_sk_"), "{profiles}");
    let later = User { folder: user.folder, environment: Vec::new() };
    later.done(&["agents", "list"]).await;
    let unknown = later.run(&["agents", "list", "--profile", "other"]).await;
    assert!(unknown.code == 2 && unknown.err.contains("other"), "{}", unknown.err);
}

#[tokio::test]
async fn the_url_of_the_profile_counts_for_an_identity_of_the_environment_too() {
    let (_server, user) = start().await;
    user.done(&["login"]).await;
    let User { folder, environment } = user;
    let identity = User { folder, environment: environment[1..].to_vec() };
    identity.done(&["agents", "list"]).await;
    identity.done(&["status"]).await;
    let ran = identity.run(&["agents", "list", "--profile", "default", "--private-key", "key.pem"]).await;
    assert!(ran.code == 2 && ran.err.contains("--private-key"), "{}", ran.err);
}

#[tokio::test]
async fn the_secret_of_a_profile_goes_to_no_other_service() {
    let ((_server, user), (_other_server, other)) = (start().await, start().await);
    user.done(&["login"]).await;
    let own = user.environment[0].1.clone();
    let later = User { folder: user.folder, environment: Vec::new() };
    later.done(&["agents", "list", "--url", &format!("{own}/")]).await;
    let url = &other.environment[0].1;
    let ran = later.run(&["agents", "list", "--url", url]).await;
    assert!(ran.code == 2 && ran.err.contains("no identity"), "{}", ran.err);
    let status = later.done(&["status", "-o", "table", "--url", url]).await;
    assert!(status.contains("none is given, so none was checked"), "{status}");
}

#[tokio::test]
async fn logins_at_the_same_time_lose_no_profile_and_a_link_stays_one() {
    let (_server, user) = start().await;
    let file = user.file("elsewhere.toml", "");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("changed");
    std::fs::create_dir(user.folder.path().join("agentidp")).expect("made");
    let link = user.folder.path().join("agentidp/config.toml");
    std::os::unix::fs::symlink(&file, &link).expect("made");
    let names = ["a", "b", "c", "d", "e", "f"];
    let logins = names.map(|name| user.command(&["login", "--profile", name]).spawn().expect("it runs"));
    for login in logins {
        let output = login.wait_with_output().await.expect("it ran");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let profiles = user.json(&["profiles"]).await;
    assert_eq!(profiles.as_array().map(Vec::len), Some(names.len()), "{profiles}");
    assert!(std::fs::symlink_metadata(link).expect("it is there").is_symlink());
}

#[tokio::test]
async fn a_profile_that_others_can_read_is_refused() {
    let (_server, user) = start().await;
    user.done(&["login"]).await;
    let path = user.folder.path().join("agentidp/config.toml");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("changed");
    let later = User { folder: user.folder, environment: Vec::new() };
    let ran = later.run(&["agents", "list"]).await;
    assert!(ran.code == 2 && ran.err.contains("chmod 600") && !ran.err.contains("aidp_sk_"), "{}", ran.err);
}

#[tokio::test]
async fn a_wrong_identity_is_not_stored() {
    let (_server, mut user) = start().await;
    user.environment[2].1 = format!("aidp_sk_{}", "0".repeat(56));
    let ran = user.run(&["login"]).await;
    assert!(ran.code == 1 && ran.err.contains("invalid_client"), "{}", ran.err);
    let advice = "\n  check the client ID and its secret or key; the log of the service has the reason\n";
    assert!(ran.err.ends_with(advice), "{}", ran.err);
    assert!(!user.folder.path().join("agentidp").exists());
    user.environment.truncate(1);
    let ran = user.run(&["login"]).await;
    assert!(ran.code == 2 && ran.err.contains("AGENTIDP_CLIENT_ID"), "{}", ran.err);
}

#[tokio::test]
async fn a_secret_comes_from_a_file_and_never_from_a_flag() {
    let (_server, mut user) = start().await;
    let (_, secret) = user.environment.pop().expect("a secret");
    user.file("secret", &format!("{secret}\n"));
    user.environment.push(("AGENTIDP_CLIENT_SECRET_FILE", "secret".to_owned()));
    user.done(&["agents", "list"]).await;
    for flag in ["--client-secret", "--secret", "--token"] {
        assert_eq!(user.run(&["agents", "list", flag, "x"]).await.code, 2, "{flag}");
    }
    user.environment.push(("AGENTIDP_CLIENT_SECRET", secret));
    assert!(user.run(&["agents", "list"]).await.err.contains("both set"));
}

#[tokio::test]
async fn a_token_of_the_environment_is_used_as_it_is() {
    let (_server, user) = start().await;
    let token = user.done(&["token", "get", "--scope", "agents:read"]).await;
    let url = user.environment[0].clone();
    let bearer = User::new(vec![url, ("AGENTIDP_TOKEN", token.trim().to_owned())]);
    bearer.done(&["agents", "list"]).await;
    let refused = bearer.run(&["orgs", "list"]).await;
    assert!(refused.code == 1 && refused.err.contains("FORBIDDEN"), "{}", refused.err);
}

#[tokio::test]
async fn a_token_and_a_client_that_are_both_set_are_refused() {
    let (_server, mut user) = start().await;
    user.environment.push(("AGENTIDP_TOKEN", "a.b.c".to_owned()));
    let ran = user.run(&["agents", "list"]).await;
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert_eq!(ran.err, "agentidp: AGENTIDP_TOKEN and AGENTIDP_CLIENT_ID are both set; unset one\n");
    user.environment[1].1 = " ".to_owned();
    user.environment.remove(2);
    let ran = user.run(&["agents", "list"]).await;
    assert_eq!(ran.code, 1, "an empty value counts as not set, and the token is used: {}", ran.err);
}

#[tokio::test]
async fn a_flag_acts_as_another_client_without_the_secret_of_the_environment() {
    let (server, user) = start().await;
    let admin = server.admin_token().await;
    let agent = server.client(&admin, None, &["files:read"]).await;
    user.file("agent.secret", &format!("{}\n", agent.secret));
    let own = ["token", "get", "--client-id", &agent.id, "--client-secret-file", "agent.secret"];
    let token = user.done(&own).await;
    let described = user.run_with(&["token", "inspect", "-"], &token).await;
    assert!(described.out.contains(&format!("Client: {}", agent.id)), "{}", described.out);
    let without = user.run(&["token", "get", "--client-id", &agent.id]).await;
    assert!(without.code == 2 && without.err.contains("--client-secret-file"), "{}", without.err);
    user.done(&["agents", "list", "--client-id", &user.environment[1].1]).await;
    let both = user.run(&[&own[..], &["--private-key", "key.pem"]].concat()).await;
    assert!(both.code == 2 && both.err.contains("--private-key"), "{}", both.err);
    let address = user.run(&["agents", "list", "--client-id", "one@example.com"]).await;
    assert!(
        address.code == 2 && address.err.contains("--client-id must be the agent's ID"),
        "{}",
        address.err
    );
    let missing = user.run(&["agents", "list", "--client-secret-file", "none"]).await;
    assert!(missing.code == 2 && missing.err.contains("none: no such file"), "{}", missing.err);
    let profile = user.run(&["agents", "list", "--profile", "p", "--client-id", &agent.id]).await;
    assert!(profile.code == 2 && profile.err.contains("no effect"), "{}", profile.err);
    let bearer = [user.environment.as_slice(), &[("AGENTIDP_TOKEN", token)]].concat();
    let bearer = User { environment: bearer, ..user };
    bearer.done(&own).await;
}

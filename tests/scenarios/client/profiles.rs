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

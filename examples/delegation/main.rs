//! Agents that act for a person: an orchestrator, two agents that act for it, and one more that acts for each of these. One
//! agent in the middle is stopped, and exactly its subtree ends.
//!
//! `cargo run --example delegation` needs nothing else: it starts AgentIdP in memory, a company's identity provider whose
//! people agents may act for, and an API that asks AgentIdP about each token.

mod api;
mod company;
mod idp;

use std::error::Error;

use api::Notes;
use company::Company;
use idp::{Agent, Idp};

/// The agents, each with the one for which it acts and its capabilities.
const AGENTS: [(&str, Option<&str>, &[&str]); 5] = [
    ("orchestrator", None, &["notes:read", "notes:write"]),
    ("researcher", Some("orchestrator"), &["notes:read"]),
    ("reader", Some("researcher"), &["notes:read", "mail:send"]),
    ("writer", Some("orchestrator"), &["notes:read", "notes:write"]),
    ("publisher", Some("writer"), &["notes:write"]),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", story().await?);
    Ok(())
}

/// Runs the demonstration, and returns its output.
async fn story() -> Result<String, Box<dyn Error>> {
    let idp = Idp::start().await?;
    let company = Company::new();
    idp.trust(&company).await?;
    let notes = Notes::start(&idp).await?;

    // An agent lists those that may act for it, so the last agents are registered first.
    let mut agents: Vec<Agent> = Vec::new();
    for (name, _, capabilities) in AGENTS.iter().rev() {
        let actors = AGENTS.iter().filter(|(_, acts_for, _)| acts_for == &Some(*name));
        let actors: Vec<&str> =
            actors.filter_map(|(actor, ..)| Some(find(&agents, actor)?.id.as_str())).collect();
        let agent = idp.register(name, capabilities, &actors).await?;
        agents.push(agent);
    }

    // Each exchanges the token of the party for which it acts. No agent gives a secret to another.
    let mut tokens: Vec<(&str, String)> = Vec::new();
    for (name, acts_for, _) in AGENTS {
        let agent = find(&agents, name).ok_or("an agent is missing")?;
        let token = match acts_for.and_then(|other| tokens.iter().find(|(known, _)| *known == other)) {
            None => idp.exchange(agent, "jwt", &company.token("alice")).await?,
            Some((_, token)) => idp.exchange(agent, "access_token", token).await?,
        };
        tokens.push((name, token));
    }

    let (_, first) = &tokens[0];
    let mut story = String::from("Five agents act for alice, each with a token of its own:\n\n");
    story += &idp.draw(first, &agents, &notes, &tokens).await?;
    story += "\nThe researcher is compromised. Its tokens are revoked with one call:\n\n";
    story += &idp.kill(find(&agents, "researcher").ok_or("an agent is missing")?).await?;
    story += "\n\n";
    story += &idp.draw(first, &agents, &notes, &tokens).await?;
    Ok(story)
}

fn find<'a>(agents: &'a [Agent], name: &str) -> Option<&'a Agent> {
    agents.iter().find(|agent| agent.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_output_is_that_of_the_readme() {
        let readme = include_str!("../../README.md");
        let after = readme.split("cargo run --example delegation\n```\n").nth(1).expect("the command");
        let shown = after.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
        assert_eq!(Some(story().await.expect("a story").as_str()), shown);
    }
}

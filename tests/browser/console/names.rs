//! Addresses of agents, shown in place of their IDs.

use super::{Console, bounded};

/// Returns a script that imports the modules of the console, and calls its last argument with what its body returns.
fn script(service: &str, body: &str) -> String {
    format!(
        "const done = arguments[arguments.length - 1];
         const modules = ['names', 'html', 'api'].map((name) => import(`{service}/console/${{name}}.js`));
         Promise.all(modules).then(async ([{{ AgentName, Names, namesOf }}, {{ html, render }}, {{ Failure }}]) => {{
           {body}
         }}).then(done, (error) => done(String(error)));"
    )
}

#[tokio::test]
async fn an_address_that_is_learned_while_its_link_is_drawn_is_shown() {
    bounded(async {
        let console = Console::open().await;
        let drawn = script(
            &console.service.url,
            "const session = { scopes: new Set(), request: () => Promise.reject() };
             const place = document.body.appendChild(document.createElement('p'));
             render(html`<${AgentName} session=${session} id='an-agent' />`, place);
             const before = place.textContent;
             namesOf(session).learn('an-agent', 'writer@agents.example.com');
             place.id = 'drawn';
             return before;",
        );
        assert_eq!(console.browser.run_async(&drawn).await, "an-agent");
        console.browser.find("//p[@id = 'drawn' and . = 'writer@agents.example.com']").await;
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn addresses_beyond_those_of_a_minute_are_looked_up_in_the_next_one() {
    bounded(async {
        let console = Console::open().await;
        let looked_up = script(
            &console.service.url,
            "let now = 1_800_000_020_000;
             Date.now = () => now;
             globalThis.setTimeout = (next, time) => { now += time; queueMicrotask(next); };
             const times = [];
             const request = (path) => { times.push(now); return Promise.resolve({ email: `${path}@x` }); };
             const names = new Names({ scopes: new Set(['agents:read']), request });
             const ids = Array.from({ length: 50 }, (_, place) => `agent-${place}`);
             const known = new Promise((resolve) => names.watch(() => names.of('agent-49') && resolve()));
             for (const id of [...ids, ...ids]) names.ask(id);
             await known;
             const shown = ids.filter((id) => names.of(id) === `agents/${id}@x`).length;
             return [shown, times.length, times.filter((time) => time < 1_800_000_060_000).length].join(' ');",
        );
        assert_eq!(console.browser.run_async(&looked_up).await, "50 50 30");
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_missing_is_asked_for_once_and_one_that_failed_again() {
    bounded(async {
        let console = Console::open().await;
        let asked = script(
            &console.service.url,
            "const asked = [];
             const request = (path) => {
               asked.push(path);
               const status = path.endsWith('missing') ? 404 : 503;
               return Promise.reject(new Failure('refused', { status }));
             };
             const names = new Names({ scopes: new Set(['agents:read']), request });
             for (let turn = 0; turn < 3; turn += 1) {
               names.ask('missing');
               names.ask('failed');
               await new Promise((resolve) => setTimeout(resolve));
             }
             return asked.filter((path) => path.endsWith('missing')).length + ' ' + asked.length;",
        );
        assert_eq!(console.browser.run_async(&asked).await, "1 4");
        console.close(&[]).await;
    })
    .await;
}

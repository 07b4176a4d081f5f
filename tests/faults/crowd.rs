//! Memory use under almost the maximum number of connections, each hostile in its own way.

use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::attack::resident;
use crate::cluster::Cluster;
use crate::report::{Report, Setting};

/// Connections of each kind; all kinds together are slightly fewer than the service accepts.
const OF_EACH: usize = 2_000;
/// Memory that the service must stay below with all connections open, in MB.
const MOST_MEMORY: f64 = 300.0;
/// Smallest receive buffer that the kernel allows, in bytes.
const SMALL_BUFFER: u32 = 2_048;

/// Opens connections of all kinds, and keeps them open together.
pub async fn run(setting: &Setting) -> Report {
    let mut report = Report::default();
    let cluster = Arc::new(Cluster::start(1, &[], &setting.folder).await);
    let admin = cluster.calm.admin_token().await;
    let organization =
        cluster.calm.organization(&admin, json!({ "limits": { "requestsPerMinute": null } })).await;
    let reader = cluster.calm.client(&admin, Some(&organization), &["agents:read"]).await;
    let token = cluster.calm.token(&reader, &[]).await;
    // These agents make each list about half a megabyte long.
    let long = |number: usize| format!("{number:03}{}:read", "x".repeat(118));
    let capabilities: Vec<String> = (0..32).map(long).collect();
    let capabilities: Vec<&str> = capabilities.iter().map(String::as_str).collect();
    for _ in 0..100 {
        cluster.calm.agent(&admin, Some(&organization), &capabilities).await;
    }
    let process = cluster.instances[0].id();
    report.figure("memory before", format!("{:.0} MB", resident(process)));
    let list =
        format!("GET /api/v1/agents?limit=100 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let body = format!(
        "POST /api/v1/agents HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{}",
        " ".repeat(60_000)
    );
    let head = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(30_000));
    let kinds: [(&str, &str); 4] = [
        ("lists that are not read", &list),
        ("bodies that do not end", &body),
        ("heads that do not end", &head),
        ("nothing said", ""),
    ];
    let mut open = Vec::new();
    let mut most: f64 = 0.0;
    for (name, part) in kinds {
        for _ in 0..OF_EACH {
            let Ok(mut stream) = connect(&cluster).await else { continue };
            // The service may refuse the connection at once, which also bounds its memory.
            let _ = stream.write_all(part.as_bytes()).await;
            open.push(stream);
            most = most.max(resident(process));
        }
        report.figure(name, format!("{} connections so far, {:.0} MB at most", open.len(), most));
    }
    let answers = cluster.calm.get(&token, "/api/v1/agents?limit=1").await.json();
    report.hold(answers["data"].is_array(), || "it does not answer any more".to_owned());
    report.hold(most < MOST_MEMORY, || format!("it needs {most:.0} MB under {} connections", open.len()));
    drop(open);
    report
}

async fn connect(cluster: &Cluster) -> std::io::Result<TcpStream> {
    let address = cluster.instances[0].url.trim_start_matches("http://").parse().expect("an address");
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SMALL_BUFFER)?;
    socket.connect(address).await
}

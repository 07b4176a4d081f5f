//! A Redis Cluster of three nodes, for the tests.

use std::sync::LazyLock;

use crate::servers::leash::Server;

/// A Cluster speaks TCP only; its ports are taken from where few look for any.
static CLUSTER: LazyLock<Server> = LazyLock::new(|| {
    Server::start(
        "base=$((15000 + $$ % 30000)) && for node in 0 1 2; do
            mkdir $node && redis-server --dir \"$folder/$node\" --bind 127.0.0.1 --port $((base + node)) \
                --cluster-enabled yes --save '' --daemonize yes --pidfile \"$folder/$node/pid\" || exit 1
        done
        for node in 0 1 2; do until redis-cli -p $((base + node)) ping; do sleep 0.05; done; done
        redis-cli --cluster create 127.0.0.1:$base 127.0.0.1:$((base + 1)) 127.0.0.1:$((base + 2)) --cluster-yes
        for node in 0 1 2; do
            until redis-cli -p $((base + node)) cluster info | grep cluster_state:ok; do sleep 0.05; done
        done
        echo $base >base",
        "kill $(cat ?/pid)",
    )
});

/// Where one of its nodes is.
pub fn redis_cluster_url() -> String {
    let port = std::fs::read_to_string(CLUSTER.folder.join("base")).expect("a port");
    format!("redis-cluster://127.0.0.1:{}", port.trim())
}

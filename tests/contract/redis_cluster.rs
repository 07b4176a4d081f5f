//! A Redis Cluster of three nodes, for the tests.

use std::sync::LazyLock;

use testing::SupervisedServer;

/// The cluster, on a loopback address derived from a process ID.
/// Redis Cluster supports TCP only, and on 127.0.0.1 any port may already be taken by an outgoing connection.
static CLUSTER: LazyLock<SupervisedServer> = LazyLock::new(|| {
    SupervisedServer::start(
        "address=127.$(($$ >> 16 & 255)).$(($$ >> 8 & 255)).$(($$ & 255)) && for node in 0 1 2; do
            mkdir $node && redis-server --dir \"$folder/$node\" --bind $address --port 700$node \
                --cluster-announce-ip $address --cluster-enabled yes --save '' --daemonize yes \
                --pidfile \"$folder/$node/pid\" && wait_until redis-cli -h $address -p 700$node ping || exit 1
        done
        timeout 60 redis-cli --cluster create $address:7000 $address:7001 $address:7002 --cluster-yes || exit 1
        is_whole() { redis-cli -h $address -p 700$1 cluster info | grep cluster_state:ok; }
        for node in 0 1 2; do wait_until is_whole $node || exit 1; done
        echo $address >address",
        "kill $(cat ?/pid)",
    )
});

/// Returns the URL of one of its nodes.
pub fn redis_cluster_url() -> String {
    let address = std::fs::read_to_string(CLUSTER.folder.join("address")).expect("an address");
    format!("redis-cluster://{}:7000", address.trim())
}

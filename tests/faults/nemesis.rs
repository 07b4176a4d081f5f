//! Faults of the stores, the links and the instances, and how each is ended.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::cluster::Cluster;
use crate::history::KILLED;
use crate::pace::{Rng, wait};
use crate::proxy::Mode;

/// Interval of faults that strike repeatedly.
const BLOWS: Duration = Duration::from_millis(400);

/// A fault, which lasts for a while and is then ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    RedisEmptied,
    RedisKilled,
    /// Killed and restarted with the data of its last `SAVE`, repeatedly.
    RedisOld,
    RedisFull,
    RedisFrozen,
    /// One instance cannot reach Redis; the others can.
    RedisGoneForOne,
    /// Connections are cut in the middle of a request.
    RedisCut,
    RedisReadOnly,
    PostgresKilled,
    PostgresFrozen,
    /// One instance cannot reach PostgreSQL; the others can.
    PostgresGoneForOne,
    /// One instance can send requests, but receives no answers.
    PostgresMuteForOne,
    /// Connections are cut in the middle of a request, possibly a commit.
    PostgresCut,
    /// The server terminates all connections, repeatedly.
    PostgresEnds,
    /// No token's event can be stored, because the disk is full.
    PostgresFull,
    Slow,
    /// One instance is killed and started again.
    InstanceKilled,
    /// The one instance can write no file, repeatedly.
    FileFull,
    /// No write to the file ends: another program holds its lock.
    FileHeld,
}

impl Fault {
    pub const OF_REDIS: [Self; 8] = [
        Self::RedisEmptied,
        Self::RedisKilled,
        Self::RedisOld,
        Self::RedisFull,
        Self::RedisFrozen,
        Self::RedisGoneForOne,
        Self::RedisCut,
        Self::RedisReadOnly,
    ];
    pub const OF_POSTGRES: [Self; 8] = [
        Self::PostgresKilled,
        Self::PostgresFrozen,
        Self::PostgresGoneForOne,
        Self::PostgresMuteForOne,
        Self::PostgresCut,
        Self::PostgresEnds,
        Self::PostgresFull,
        Self::Slow,
    ];

    /// Applies the fault for the given time, and then ends it.
    pub async fn strike(self, cluster: &Cluster, time: Duration, rng: &mut Rng) {
        let ends = Instant::now() + time;
        let stores = &cluster.stores;
        let one = rng.below(cluster.instances.len());
        match self {
            Self::RedisEmptied => blows(ends, async || stores.redis("FLUSHALL")).await,
            Self::RedisKilled => {
                stores.redis("SAVE");
                stores.kill_redis();
                wait(time).await;
                stores.start_redis();
            }
            Self::RedisOld => {
                blows(ends, async || {
                    stores.kill_redis();
                    stores.start_redis();
                })
                .await;
            }
            Self::RedisFull => {
                stores.redis("CONFIG SET maxmemory 3mb\\nCONFIG SET maxmemory-policy volatile-ttl");
                blows(ends, async || stores.redis("DEBUG POPULATE 20000 junk 100")).await;
                stores.redis("FLUSHALL\\nCONFIG SET maxmemory 0");
            }
            Self::RedisFrozen => {
                stores.freeze_redis();
                wait(time).await;
                stores.thaw_redis();
            }
            Self::RedisReadOnly => {
                stores.redis("CONFIG SET min-replicas-to-write 1");
                wait(time).await;
                stores.redis("CONFIG SET min-replicas-to-write 0");
            }
            Self::RedisGoneForOne => {
                cluster.instances[one].redis.set(Mode::Blackhole);
                wait(time).await;
                cluster.instances[one].redis.set(Mode::Pass);
            }
            Self::RedisCut => {
                cut(ends, rng, |mode| cluster.instances.iter().for_each(|each| each.redis.set(mode))).await;
            }
            Self::PostgresKilled => {
                blows(ends, async || {
                    stores.kill_postgres();
                    stores.start_postgres();
                })
                .await;
            }
            Self::PostgresFrozen => {
                stores.freeze_postgres();
                wait(time).await;
                stores.thaw_postgres();
            }
            Self::PostgresGoneForOne => {
                cluster.instances[one].postgres.set(Mode::Blackhole);
                wait(time).await;
                cluster.instances[one].postgres.set(Mode::Pass);
            }
            Self::PostgresMuteForOne => {
                cluster.instances[one].postgres.set(Mode::OneWay);
                wait(time).await;
                cluster.instances[one].postgres.set(Mode::Reset);
                cluster.instances[one].postgres.set(Mode::Pass);
            }
            Self::PostgresCut => {
                cut(ends, rng, |mode| cluster.instances.iter().for_each(|each| each.postgres.set(mode)))
                    .await;
            }
            Self::PostgresEnds => {
                let superuser = stores.superuser().await;
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agentidp'";
                blows(ends, async || superuser.batch_execute(sql).await.expect("ended")).await;
            }
            Self::PostgresFull => {
                let superuser = stores.superuser().await;
                change_tables(&superuser, FULL).await;
                wait(time).await;
                change_tables(&superuser, "DROP FUNCTION is_full CASCADE").await;
            }
            Self::Slow => {
                for instance in &cluster.instances {
                    instance.postgres.set(Mode::Delay(Duration::from_millis(20)));
                    instance.redis.set(Mode::Delay(Duration::from_millis(20)));
                }
                wait(time).await;
                for instance in &cluster.instances {
                    instance.postgres.set(Mode::Pass);
                    instance.redis.set(Mode::Pass);
                }
            }
            Self::InstanceKilled => {
                let (instance, begun) = (&cluster.instances[one], cluster.history.now());
                instance.kill().await;
                cluster.history.other(KILLED, one, begun, 200);
                instance.start();
            }
            Self::FileFull => {
                blows(ends, async || {
                    cluster.instances[one].limit_files("1").await;
                    wait(BLOWS).await;
                    cluster.instances[one].limit_files("unlimited").await;
                })
                .await;
            }
            Self::FileHeld => {
                let file = cluster.file.as_ref().expect("it has one");
                let holder = rusqlite::Connection::open(file).expect("a file");
                holder.busy_timeout(Duration::from_secs(10)).expect("set");
                holder.execute_batch("BEGIN IMMEDIATE").expect("held");
                // Longer than a change may wait.
                wait(time.max(Duration::from_secs(3))).await;
                holder.execute_batch("ROLLBACK").expect("given back");
            }
        }
    }
}

/// Makes PostgreSQL report a full disk when an event of a token is stored.
const FULL: &str = "
    CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER is_full BEFORE INSERT ON audit_events FOR EACH ROW
    WHEN (NEW.action IN ('token.issued', 'token.exchanged')) EXECUTE FUNCTION is_full()";

/// Runs statements that lock whole tables. PostgreSQL may end them, or the service's, to resolve a deadlock.
async fn change_tables(superuser: &Client, sql: &str) {
    while let Err(error) = superuser.batch_execute(sql).await {
        assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{error:?}");
    }
}

async fn blows(ends: Instant, mut blow: impl AsyncFnMut()) {
    while Instant::now() < ends {
        blow().await;
        wait(BLOWS).await;
    }
}

/// Cuts connections after a random number of bytes, which changes repeatedly.
async fn cut(ends: Instant, rng: &mut Rng, set: impl Fn(Mode)) {
    while Instant::now() < ends {
        set(Mode::CutAfter(20 + rng.below(20_000)));
        wait(BLOWS).await;
    }
    set(Mode::Pass);
}

//! Which wirings a scenario runs on.

/// Makes each scenario a test on every wiring, or on the named one. A stateless scenario is about what is read or
/// written at the edge, where no store has a part, so that it runs in memory only.
macro_rules! scenarios {
    (every_wiring $scenarios:tt) => {
        scenarios!(@ memory Memory $scenarios);
        scenarios!(@ sqlite Sqlite $scenarios);
        scenarios!(@ postgres Postgres $scenarios);
        scenarios!(@ postgres_and_redis PostgresAndRedis $scenarios);
        scenarios!(@ two_instances TwoInstances $scenarios);
    };
    (stateless $scenarios:tt) => { scenarios!(@ stateless Memory $scenarios); };
    (memory $scenarios:tt) => { scenarios!(@ memory Memory $scenarios); };
    (@ $module:ident $wiring:ident [$($scenario:ident),+ $(,)?]) => { mod $module {
        $(#[tokio::test]
        async fn $scenario() { super::$scenario(testing::Wiring::$wiring).await })+
    } };
}
pub(crate) use scenarios;

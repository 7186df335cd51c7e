//! What can be learnt about a Redis from outside, for `scangate doctor`. It judges nothing and changes nothing but, as a
//! start of the gateway would, missing notification flags.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::InfoDict;

use super::{FlagsError, Keys, RedisSettings, StoreError, flags, from_pool, from_redis, unavailable};

/// What Redis told.
#[derive(Debug)]
pub struct Diagnosis {
    /// The server's version, such as `7.0.15`.
    pub version: Option<String>,
    /// The flags as they were found, if they may be read.
    pub flags_before: Option<String>,
    /// Whether changes will be reported.
    pub flags: Result<(), FlagsError>,
    /// What Redis does when its memory is full.
    pub eviction_policy: Option<String>,
    /// The memory that it may use, in bytes; 0 is without bound.
    pub maxmemory_bytes: Option<u64>,
    /// How far Redis's clock is from this machine's, either way.
    pub clock_difference: Duration,
    /// How long an answer took.
    pub round_trip: Duration,
}

/// Asks Redis about itself.
///
/// # Errors
/// [`StoreError::Unavailable`] if it cannot be reached or does not know the login.
pub async fn diagnose(settings: &RedisSettings) -> Result<Diagnosis, StoreError> {
    let pool = settings.topology.pool(1, settings.timeout).map_err(unavailable)?;
    let keys = Keys::new(&settings.prefix, settings.topology.database());
    let mut connection = pool.get().await.map_err(|error| from_pool(&error))?;

    let asked = std::time::Instant::now();
    let (seconds, micros): (u64, u32) =
        redis::cmd("TIME").query_async(&mut connection).await.map_err(|error| from_redis(&error))?;
    let round_trip = asked.elapsed();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let there = Duration::new(seconds, micros * 1000);

    let info: Option<InfoDict> = redis::cmd("INFO").query_async(&mut connection).await.ok();
    let flags_before = flags::read(&mut connection).await.ok();
    drop(connection);
    Ok(Diagnosis {
        version: info.as_ref().and_then(|info| info.get("redis_version")),
        flags_before,
        flags: flags::ensure(&pool, &settings.topology, &keys, settings.timeout).await,
        eviction_policy: info.as_ref().and_then(|info| info.get("maxmemory_policy")),
        maxmemory_bytes: info.as_ref().and_then(|info| info.get("maxmemory")),
        clock_difference: here.abs_diff(there),
        round_trip,
    })
}

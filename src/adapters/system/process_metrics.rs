//! Metrics of this process, by the names that Prometheus' client libraries have in common.

/// Names of the metrics, each with its type and its description.
///
/// They are reported on Linux.
pub const PROCESS_METRICS: [(&str, bool, &str); 7] = [
    ("process_cpu_seconds_total", true, "CPU time of the process, in seconds"),
    ("process_open_fds", false, "Open files"),
    ("process_max_fds", false, "Open files allowed"),
    ("process_resident_memory_bytes", false, "Memory in use"),
    ("process_virtual_memory_bytes", false, "Address space in use"),
    ("process_start_time_seconds", false, "Start of the process, in seconds since 1970"),
    ("process_threads", false, "Threads"),
];

/// Reads the metrics of this process. One that cannot be read keeps its value.
#[cfg(target_os = "linux")]
pub fn report_process() {
    use metrics::{counter, gauge};
    use procfs::WithCurrentSystemInfo as _;
    use procfs::process::{LimitValue, Process};

    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        let cpu_seconds = (stat.utime + stat.stime) / procfs::ticks_per_second();
        counter!("process_cpu_seconds_total").absolute(cpu_seconds);
        gauge!("process_resident_memory_bytes").set(stat.rss_bytes().get() as f64);
        gauge!("process_virtual_memory_bytes").set(stat.vsize as f64);
        gauge!("process_threads").set(stat.num_threads as f64);
        if let Ok(boot) = procfs::boot_time_secs() {
            let started = boot + stat.starttime / procfs::ticks_per_second();
            gauge!("process_start_time_seconds").set(started as f64);
        }
    }
    if let Ok(open) = process.fd_count() {
        gauge!("process_open_fds").set(open as f64);
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        gauge!("process_max_fds").set(most as f64);
    }
}

/// Reads the metrics of this process, which are known on Linux only.
#[cfg(not(target_os = "linux"))]
pub fn report_process() {}

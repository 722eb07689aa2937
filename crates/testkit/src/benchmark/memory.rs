//! Memory of a process, in MB of 10^6 bytes. Knows nothing of what the process is.

pub struct Memory {
    pub resident: f64,
    /// Highest resident memory since the process began.
    pub peak: f64,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let megabytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
        };
        Self { resident: megabytes("VmRSS:"), peak: megabytes("VmHWM:") }
    }
}

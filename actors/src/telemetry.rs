//! Where log lines and metrics go: the process's one subscriber and its one recorder.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::LogFormat;

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to write the log to standard output. Called once by a program; a second call changes nothing, so that
/// tests may start several.
pub fn init(format: LogFormat, filter: &str) {
    // The settings have checked the filter.
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = fmt().with_env_filter(filter).with_target(false);
    // Refused where a subscriber is set already.
    let _ = match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stdout().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}

/// The metrics of the process in Prometheus' text format. The first call begins to collect them.
#[must_use]
pub fn metrics() -> String {
    recorder().render()
}

/// Begins to collect metrics.
pub fn init_metrics() {
    recorder();
}

fn recorder() -> &'static PrometheusHandle {
    METRICS.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // Refused where another recorder is set; then that one has the numbers and ours stays empty.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

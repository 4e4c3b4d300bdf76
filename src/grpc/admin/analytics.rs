//! What is known of all live connections, as the contract writes it.

use crate::{
    model::connection::NodeReport,
    proto::{GetConnectionAnalyticsResponse, LatencyStats, QueueSizes},
};

impl From<NodeReport> for GetConnectionAnalyticsResponse {
    fn from(report: NodeReport) -> Self {
        let [critical, high, medium, low] = report.waiting.map(u64::cast_signed);
        let signed = |(name, count): (String, u64)| (name, count.cast_signed());
        Self {
            active_connections: report.connections.cast_signed(),
            active_users: 0,
            active_topics: report.topics.cast_signed(),
            total_messages: report.frames.values().sum::<u64>().cast_signed(),
            total_errors: report.errors.values().sum::<u64>().cast_signed(),
            message_types: report.frames.into_iter().map(signed).collect(),
            error_codes: report.errors.into_iter().map(signed).collect(),
            latency_stats: Some(latency(report.round_trips)),
            queue_sizes: Some(QueueSizes { critical, high, medium, low }),
        }
    }
}

/// The nearest-rank percentiles of round trips in microseconds.
fn latency(mut round_trips: Vec<u32>) -> LatencyStats {
    round_trips.sort_unstable();
    let count = round_trips.len();
    if count == 0 {
        return LatencyStats::default();
    }
    let ms = |micros: f64| micros / 1000.0;
    let percentile = |percent: usize| ms(f64::from(round_trips[(count * percent).div_ceil(100).max(1) - 1]));
    LatencyStats {
        mean_ms: ms(round_trips.iter().copied().map(f64::from).sum::<f64>() / count as f64),
        p50_ms: percentile(50),
        p95_ms: percentile(95),
        p99_ms: percentile(99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        assert_eq!(latency(Vec::new()), LatencyStats::default());
        let one = latency(vec![2500]);
        assert_eq!((one.mean_ms, one.p50_ms, one.p99_ms), (2.5, 2.5, 2.5));
        let hundred = latency((1..=100).rev().map(|ms| ms * 1000).collect());
        assert_eq!((hundred.mean_ms, hundred.p50_ms, hundred.p95_ms, hundred.p99_ms), (50.5, 50.0, 95.0, 99.0));
    }
}

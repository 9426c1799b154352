//! Buckets as time goes by.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use meltemi_ir::TokenBucket;

use super::Bucket;

#[tokio::test(start_paused = true)]
async fn a_bucket_empties_and_fills_steadily() {
    let bucket = Bucket::new(&TokenBucket {
        max: 3,
        per_fill: 2,
        interval: Duration::from_secs(1),
    });
    assert_eq!((bucket.left(), bucket.max(), bucket.reset()), (3, 3, 0));
    assert!((0..3).all(|_| bucket.take()));
    assert!(!bucket.take());
    assert_eq!((bucket.left(), bucket.reset()), (0, 1));
    tokio::time::advance(Duration::from_millis(500)).await;
    assert!(bucket.take() && !bucket.take());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(bucket.left(), 3);
}

//! Names come when they are asked for, are looked up again while they are in use, and go.
#![allow(clippy::unwrap_used)]

use super::*;
use meltemi_ir::DnsFamily;

type Begun = Arc<Mutex<Vec<Arc<Name>>>>;

/// A cache of two names for which two requests may wait, and what it wants looked up.
fn cache() -> (Arc<DnsCache>, Begun) {
    let begun = Begun::default();
    let list = begun.clone();
    let settings = Settings {
        name: "names".to_owned(),
        family: DnsFamily::All,
        refresh: Duration::from_secs(60),
        keep_unused: Duration::from_secs(300),
        max_names: 2,
        max_pending: 2,
        query_timeout: Duration::from_secs(5),
    };
    let cache = DnsCache::new(
        Arc::new(settings),
        Arc::new(Sharded::new(1)),
        Clock::system(),
        Box::new(move |_, name| list.lock().unwrap().push(name)),
    );
    (Arc::new(cache), begun)
}

fn key(authority: &'static str) -> NameAndPort {
    NameAndPort::of(&HeaderValue::from_static(authority), 80).unwrap()
}

#[test]
fn what_an_authority_names() {
    let of = |text| {
        let key = NameAndPort::of(&HeaderValue::from_static(text), 443)?;
        Some((key.name.to_string(), key.port))
    };
    assert_eq!(of("Example.com"), Some(("example.com".to_owned(), 443)));
    assert_eq!(of("example.com:81"), Some(("example.com".to_owned(), 81)));
    assert_eq!(of("[::1]:81"), Some(("::1".to_owned(), 81)));
    assert_eq!(of("[::1]"), Some(("::1".to_owned(), 443)));
    assert_eq!(of("a b"), None);
    assert_eq!(of(""), None);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_once_for_all_who_wait() {
    let (cache, begun) = cache();
    let worker = WorkerId::MAIN;
    let key = key("127.0.0.1:81");
    let Demand::Waits(first) = cache.demand(&key, worker) else {
        panic!("the name is new");
    };
    let Demand::Waits(second) = cache.demand(&key, worker) else {
        panic!("the name is not known yet");
    };
    assert!(matches!(cache.demand(&key, worker), Demand::Overflow));
    assert_eq!(cache.address(&key), None);
    let name = begun.lock().unwrap().pop().unwrap();
    assert!(begun.lock().unwrap().is_empty());
    look_up(cache.clone(), name).await;
    assert!(first.is_found().await && second.is_found().await);
    assert!(matches!(cache.demand(&key, worker), Demand::Known));
    assert_eq!(cache.address(&key), Some(([127, 0, 0, 1], 81).into()));
    assert_eq!(cache.pending.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_name_in_use_is_looked_up_again_and_one_that_is_not_goes() {
    let (cache, begun) = cache();
    let (used, unused) = (key("127.0.0.1"), key("127.0.0.2"));
    for key in [&used, &unused] {
        cache.demand(key, WorkerId::MAIN);
    }
    assert!(matches!(
        cache.demand(&key("127.0.0.3"), WorkerId::MAIN),
        Demand::Full
    ));
    let names = std::mem::take(&mut *begun.lock().unwrap());
    for name in names {
        look_up(cache.clone(), name).await;
    }
    assert!(cache.due().is_empty());
    tokio::time::advance(Duration::from_secs(60)).await;
    let due = cache.due();
    assert_eq!(due.len(), 2);
    assert!(cache.due().is_empty(), "they are being looked up");
    for name in due {
        look_up(cache.clone(), name).await;
    }
    tokio::time::advance(Duration::from_secs(239)).await;
    assert!(cache.address(&used).is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(cache.due().len(), 1);
    assert!(cache.address(&used).is_some());
    assert_eq!(cache.address(&unused), None);
    assert_eq!(cache.stats.main().host_removed.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_found_is_forgotten() {
    let (cache, begun) = cache();
    // No resolver is asked for what cannot be a name.
    let key = NameAndPort {
        name: "\0".into(),
        port: 80,
    };
    let Demand::Waits(waiting) = cache.demand(&key, WorkerId::MAIN) else {
        panic!("the name is new");
    };
    let name = begun.lock().unwrap().pop().unwrap();
    look_up(cache.clone(), name).await;
    assert!(!waiting.is_found().await);
    assert!(cache.names.load().is_empty());
    assert!(matches!(
        cache.demand(&key, WorkerId::MAIN),
        Demand::Waits(_)
    ));
    assert_eq!(begun.lock().unwrap().len(), 1, "it is looked up again");
}

#![allow(clippy::unwrap_used)]

use super::ProxySettings;

#[test]
fn exceptions_go_direct() {
    let cases = [
        (None, "http://catalog/", true),
        (Some("*"), "http://catalog/", false),
        (Some("catalog"), "http://catalog/items", false),
        (Some("Local, .svc"), "http://a.svc/", false),
        (Some("svc"), "http://notsvc/", true),
        (Some("*.svc:81"), "http://a.svc:81/", false),
        (Some("svc:81"), "http://a.svc/", true),
        (Some("127.0.0.1"), "http://127.0.0.1:9/", false),
        (Some("127.0.0.1"), "http://127.0.0.2:9/", true),
        (Some("127.0.0.0/8"), "http://127.9.9.9/", false),
        (Some("0.0.0.0/0"), "http://8.8.8.8/", false),
        (Some("127.0.0.0/8"), "http://128.0.0.1/", true),
        (Some("::1"), "http://[::1]:80/", false),
        (Some("10.0.0.0/8"), "http://[::1]:80/", true),
    ];
    for (exceptions, uri, proxied) in cases {
        let settings = ProxySettings::parse(Some("http://127.0.0.1:15080/"), exceptions).unwrap();
        let proxy = settings.for_uri(&uri.parse().unwrap());
        assert_eq!(
            proxy.map(|proxy| proxy.as_str()),
            proxied.then_some("127.0.0.1:15080"),
            "{exceptions:?} {uri}"
        );
    }
}

#[test]
fn no_proxy_or_a_bad_one() {
    let direct = ProxySettings::parse(None, None).unwrap();
    assert_eq!(direct.for_uri(&"http://catalog/".parse().unwrap()), None);
    assert!(ProxySettings::parse(Some("socks5://x:1"), None).is_err());
    assert!(ProxySettings::parse(Some("localhost:15080"), None).is_ok());
}

use super::*;

#[test]
fn names_are_joined_in_envoys_order() {
    let flags =
        ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED | ResponseFlags::UPSTREAM_CONNECTION_FAILURE;
    assert_eq!(flags.to_string(), "URX,UF");
    assert_eq!(
        flags.long(),
        "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"
    );
    assert_eq!(ResponseFlags::NONE.to_string(), "-");
    assert_eq!(ResponseFlags::NONE.long(), "-");
}

#[test]
fn every_short_name_is_found_again() {
    for (flag, short, long) in ResponseFlags::ALL {
        assert_eq!(ResponseFlags::from_short(short), Some(*flag));
        assert_eq!(flag.short(), *short);
        assert_eq!(flag.long(), *long);
    }
    assert_eq!(ResponseFlags::from_short("XX"), None);
}

#![allow(clippy::unwrap_used)]

use meltemi_ir::{EscapedSlashes, PathNormalization};

use super::{NormalPath, normalize};

fn changed(path: &str) -> NormalPath {
    NormalPath::Changed(path.to_owned())
}

#[test]
fn paths_are_normalized_as_envoy_does() {
    let settings = PathNormalization {
        normalize: true,
        merge_slashes: true,
        escaped_slashes: EscapedSlashes::UnescapeAndForward,
    };
    for (path, normal) in [
        ("/", NormalPath::Unchanged),
        ("/a/b?x=/../%2F//y", NormalPath::Unchanged),
        ("/a/../b", changed("/b")),
        ("/a/./b/..", changed("/a/")),
        ("/..", changed("/")),
        ("/../..//a", changed("/a")),
        ("/a//b///c?x=//", changed("/a/b/c?x=//")),
        (
            "/a/../b//c/./%2e%2e/d%2Fe%5cf?x=%2F//y",
            changed("/b/d/e/f?x=%2F//y"),
        ),
        ("/..//b\\c%41", changed("/b/cA")),
        ("/%7euser/%C3%a9", changed("/~user/%C3%a9")),
        ("/a%20b", NormalPath::Unchanged),
        ("/a%", NormalPath::Unchanged),
        ("/a|b", changed("/a%7Cb")),
        ("/.hidden", NormalPath::Unchanged),
        ("/a%00b", NormalPath::Reject),
    ] {
        assert_eq!(normalize(path, &settings), normal, "{path}");
    }
}

#[test]
fn each_setting_does_its_part_alone() {
    let none = PathNormalization::default();
    assert_eq!(normalize("/a/..//%2F", &none), NormalPath::Unchanged);
    let merge = PathNormalization {
        merge_slashes: true,
        ..none
    };
    assert_eq!(normalize("/a/..//%2F", &merge), changed("/a/../%2F"));
    let with = |escaped_slashes| PathNormalization {
        escaped_slashes,
        ..none
    };
    for (setting, normal) in [
        (EscapedSlashes::Keep, NormalPath::Unchanged),
        (EscapedSlashes::Reject, NormalPath::Reject),
        (EscapedSlashes::UnescapeAndForward, changed("/a/b\\c?%2F")),
        (
            EscapedSlashes::UnescapeAndRedirect,
            NormalPath::Redirect("/a/b\\c?%2F".to_owned()),
        ),
    ] {
        assert_eq!(normalize("/a%2fb%5Cc?%2F", &with(setting)), normal);
        assert_eq!(normalize("/a%41", &with(setting)), NormalPath::Unchanged);
    }
}

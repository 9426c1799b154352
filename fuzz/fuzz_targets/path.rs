//! Path normalization: once is as good as twice, and what is merged or resolved stays so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_http::{NormalPath, normalize};
use meltemi_ir::{EscapedSlashes, PathNormalization};

fuzz_target!(|input: (bool, bool, u8, &str)| {
    let (resolve, merge_slashes, escaped, path) = input;
    let settings = PathNormalization {
        normalize: resolve,
        merge_slashes,
        escaped_slashes: match escaped % 4 {
            0 => EscapedSlashes::Keep,
            1 => EscapedSlashes::Reject,
            2 => EscapedSlashes::UnescapeAndRedirect,
            _ => EscapedSlashes::UnescapeAndForward,
        },
    };
    // What a codec lets through.
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let (NormalPath::Changed(once) | NormalPath::Redirect(once)) = normalize(path, &settings)
    else {
        return;
    };
    let plain = once.split('?').next().unwrap_or_default();
    assert!(plain.starts_with('/'), "{path} became {once}");
    assert!(!(merge_slashes && plain.contains("//")), "{path} became {once}");
    assert!(!(resolve && plain.contains("/../")), "{path} became {once}");
    if settings.escaped_slashes == EscapedSlashes::Keep {
        assert_eq!(normalize(&once, &settings), NormalPath::Unchanged, "{path}");
    }
});

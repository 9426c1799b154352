#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use super::{Output, Process, ProcessError};
use crate::{Reply, Signal, Upstream};

const LONG: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Process {
    Process::start(Command::new("sh").args(["-c", script])).unwrap()
}

#[test]
fn lines_are_kept_by_stream_and_found_early_or_late() {
    let mut process = shell("echo one; echo two >&2; exec sleep 60");
    assert_eq!(process.wait_for_text(LONG, "two").unwrap(), "two");
    assert_eq!(process.wait_for_text(LONG, "one").unwrap(), "one");
    assert_eq!(process.lines(Output::Stdout), ["one"]);
    assert_eq!(process.lines(Output::Stderr), ["two"]);
}

#[test]
fn an_early_end_is_told_with_the_output() {
    let mut process = shell("echo so long; exit 3");
    match process.wait_for_text(LONG, "never").unwrap_err() {
        ProcessError::Ended { status, output, .. } => {
            assert_eq!(status.code(), Some(3));
            assert_eq!(output, "so long");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_missing_line_times_out() {
    let error = shell("exec sleep 60")
        .wait_for_text(Duration::from_millis(30), "x")
        .unwrap_err();
    assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
}

#[test]
fn signals_end_it_and_show_in_its_status() {
    let mut process = shell("echo up; exec sleep 60");
    process.wait_for_text(LONG, "up").unwrap();
    assert_eq!(process.status().unwrap(), None);
    let status = process.stop(Signal::SIGTERM, LONG).unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    assert!(process.group().is_empty());
}

#[test]
fn a_trapped_signal_ends_in_an_ordinary_exit() {
    // Not SIGINT: what a shell runs in the background has it ignored, and cannot trap it.
    let mut process = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done");
    process.wait_for_text(LONG, "up").unwrap();
    assert!(process.stop(Signal::SIGTERM, LONG).unwrap().success());
    assert_eq!(process.wait_for_text(LONG, "bye").unwrap(), "bye");
}

#[test]
fn the_group_is_killed_with_the_handle() {
    let mut process = shell("sleep 60 & echo $!; wait");
    let grandchild: u32 = process
        .wait_for_line(LONG, |line| !line.is_empty())
        .unwrap()
        .parse()
        .unwrap();
    assert!(process.group().contains(&grandchild));
    drop(process);
    let gone = || super::group_of(grandchild).is_none();
    for _ in 0..1000 {
        if gone() {
            return;
        }
        std::thread::sleep(super::POLL);
    }
    panic!("{grandchild} outlived its group");
}

#[test]
fn http_readiness_is_awaited() {
    let upstream = Upstream::start();
    upstream.fail_times("/ready", 3, 503);
    let mut process = shell("exec sleep 60");
    process
        .wait_for_http(LONG, upstream.address(), "/ready")
        .unwrap();
    assert_eq!(upstream.count("/ready"), 4);
    upstream.on("/ready", Reply::status(500));
    let error = process
        .wait_for_http(Duration::from_millis(30), upstream.address(), "/ready")
        .unwrap_err();
    assert!(error.to_string().contains("/ready"), "{error}");
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let error = Process::start(&mut Command::new("/nonexistent/program"))
        .err()
        .unwrap();
    assert!(error.to_string().contains("/nonexistent/program"));
}

//! Pairs whose answer does not come as hoped: whoever has the pair has every byte.

use super::{after, soon};
use lb_core::handoff::{Answer, Apart, Decision};
use lb_tests::handoff::{ANSWER, Back, Family, Front, REQUEST, Site, decide, expect, expect_reset, try_decide};
use lb_userspace::kernel::Pending;
use std::io::Write;
use std::time::Duration;

/// A pair whose request is written.
fn begun(site: &Site, answer: Answer) -> (Front, Back, Pending) {
    let mut front = site.front(Family::V4);
    front.client.write_all(REQUEST).expect("sent");
    expect(&mut front.front, REQUEST);
    let mut back = site.back(Family::V4, &front).expect("dialled");
    let pending = site.begin(&front, &back, answer).expect("begun");
    back.back.write_all(REQUEST).expect("sent");
    expect(&mut back.backend, REQUEST);
    (front, back, pending)
}

/// Userspace has the pair, and carries it by hand.
fn by_hand(site: &Site, (mut front, mut back): (Front, Back)) {
    let carried = site.count("up") + site.count("down") + site.count("activated");
    back.backend.write_all(b"from the backend").expect("sent");
    expect(&mut back.back, b"from the backend");
    front.front.write_all(b"to the client").expect("sent");
    expect(&mut front.client, b"to the client");
    front.client.write_all(b"from the client").expect("sent");
    expect(&mut front.front, b"from the client");
    back.back.write_all(b"to the backend").expect("sent");
    expect(&mut back.backend, b"to the backend");
    assert_eq!(site.count("up") + site.count("down") + site.count("activated"), carried, "the kernel carries nothing");
    assert!(site.splicer().flows().is_empty());
    after(site);
}

#[test]
fn a_client_that_sends_more_before_the_answer_stays_in_userspace() {
    let site = Site::new();
    let (mut front, mut back, mut pending) = begun(&site, Answer::Any);
    front.client.write_all(b"more").expect("sent");
    assert_eq!(decide(&mut pending), Decision::Ours, "the second request is in our socket");
    back.backend.write_all(ANSWER).expect("sent");
    expect(&mut back.back, ANSWER);
    expect(&mut front.front, b"more");
    assert!(site.count("refused") >= 1);
    by_hand(&site, (front, back));
}

#[test]
fn a_client_that_is_ahead_is_not_even_begun() {
    let site = Site::new();
    let mut front = site.front(Family::V4);
    front.client.write_all(REQUEST).expect("sent");
    expect(&mut front.front, REQUEST);
    let back = site.back(Family::V4, &front).expect("dialled");
    front.client.write_all(b"more").expect("sent");
    front.front.peek(&mut [0; 4]).expect("it is here");
    assert_eq!(site.begin(&front, &back, Answer::Any).expect_err("ahead"), Apart::Ahead);
    expect(&mut front.front, b"more");
    by_hand(&site, (front, back));
}

#[test]
fn a_backend_that_speaks_too_early_is_not_even_begun() {
    let site = Site::new();
    let mut front = site.front(Family::V4);
    front.client.write_all(REQUEST).expect("sent");
    expect(&mut front.front, REQUEST);
    let mut back = site.back(Family::V4, &front).expect("dialled");
    back.backend.write_all(b"220 hello").expect("sent");
    back.back.peek(&mut [0; 4]).expect("it is here");
    assert_eq!(site.begin(&front, &back, Answer::Any).expect_err("early"), Apart::Dirty);
    expect(&mut back.back, b"220 hello");
    by_hand(&site, (front, back));
}

#[test]
fn a_backend_that_answers_before_the_request_is_whole_stays_in_userspace() {
    let site = Site::new();
    let mut front = site.front(Family::V4);
    front.client.write_all(REQUEST).expect("sent");
    expect(&mut front.front, REQUEST);
    let mut back = site.back(Family::V4, &front).expect("dialled");
    let mut pending = site.begin(&front, &back, Answer::Any).expect("begun");
    back.back.write_all(&REQUEST[..10]).expect("sent");
    expect(&mut back.backend, &REQUEST[..10]);
    back.backend.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("sent");
    assert_eq!(decide(&mut pending), Decision::Ours);
    expect(&mut back.back, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    by_hand(&site, (front, back));
}

#[test]
fn an_upgrade_is_carried_only_when_it_is_agreed() {
    let site = Site::new();
    let (front, mut back, mut pending) = begun(&site, Answer::Switch);
    back.backend.write_all(ANSWER).expect("sent");
    assert_eq!(decide(&mut pending), Decision::Ours, "200 is no switch");
    expect(&mut back.back, ANSWER);
    by_hand(&site, (front, back));

    let (mut front, mut back, mut pending) = begun(&site, Answer::Switch);
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    back.backend.write_all(answer).expect("sent");
    assert_eq!(decide(&mut pending), Decision::Carried);
    expect(&mut front.client, answer);
    pending.surrender(front.front.into(), back.back.into(), String::new(), Box::new(|_| {}));
    assert_eq!(site.splicer().flows()[0].carried.status, Some(101));
    after(&site);
}

#[test]
fn what_is_withdrawn_in_time_is_userspaces() {
    let site = Site::new();
    let (front, mut back, mut pending) = begun(&site, Answer::Any);
    assert_eq!(try_decide(&mut pending, Duration::from_millis(50)), None, "nobody has answered");
    assert_eq!(pending.withdraw(), Decision::Ours);
    back.backend.write_all(ANSWER).expect("sent");
    expect(&mut back.back, ANSWER);
    drop(pending);
    by_hand(&site, (front, back));

    // Dropping is withdrawing.
    let (front, back, pending) = begun(&site, Answer::Any);
    drop(pending);
    by_hand(&site, (front, back));
}

#[test]
fn what_is_withdrawn_too_late_is_carried() {
    let site = Site::new();
    let (mut front, mut back, mut pending) = begun(&site, Answer::Any);
    back.backend.write_all(ANSWER).expect("sent");
    expect(&mut front.client, ANSWER);
    assert_eq!(pending.withdraw(), Decision::Carried);
    assert_eq!(decide(&mut pending), Decision::Carried);
    // Dropped though it is carried: nobody would know of it, so both ends are reset, and our sockets are dead.
    site.inside(|_| drop(pending));
    expect_reset(&mut front.client);
    expect_reset(&mut back.backend);
    assert!(front.front.write_all(b"x").is_err() && back.back.write_all(b"x").is_err());
    soon("nothing is left", || site.splicer().flows().is_empty());
    after(&site);
}

#[test]
fn a_backend_that_resets_or_finishes_instead_of_answering_is_userspaces() {
    let site = Site::new();
    let (_front, mut back, mut pending) = begun(&site, Answer::Any);
    back.backend.shutdown(std::net::Shutdown::Write).expect("finished");
    assert_eq!(decide(&mut pending), Decision::Ours);
    lb_tests::handoff::expect_end(&mut back.back);
    after(&site);
}

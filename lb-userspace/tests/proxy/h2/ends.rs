//! How streams and connections of HTTP/2 end: deadlines, requests that are sent again or not, cuts, goodbyes, floods.

use super::*;

#[test]
fn a_call_ends_at_the_deadline_that_it_states() {
    let backend = H2Backend::new(|mut request, respond| async move {
        while request.body_mut().data().await.is_some() {}
        std::future::pending::<()>().await;
        drop(respond);
        Some(())
    });
    let rig = backend.rig();
    let mut call = post("/a.B/C");
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    call.headers_mut().insert("grpc-timeout", "200m".parse().expect("a value"));
    let answer = run(async { exchange(&mut connect(rig.http).await, call, Some(vec![0; 5])).await });
    assert_eq!((answer.head.status.as_u16(), answer.head.headers["grpc-status"].as_bytes()), (200, b"4".as_slice()));
}

#[test]
fn a_request_that_an_endpoint_refuses_to_look_at_is_sent_again() {
    let turn = Arc::new(AtomicUsize::new(0));
    let backend = H2Backend::new(move |_request, mut respond| {
        let first = turn.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                respond.send_reset(Reason::REFUSED_STREAM);
                return Some(());
            }
            respond.send_response(Response::new(()), true).ok().map(drop)
        }
    });
    let rig = backend.rig();
    let answer = run(async { exchange(&mut connect(rig.http).await, post("/"), Some(vec![1; 10])).await });
    assert_eq!(answer.head.status, 200);
}

#[test]
fn a_post_without_content_that_an_endpoint_took_is_not_sent_twice() {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let backend = H2Backend::new(move |_request, mut respond| {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                return respond.send_response(Response::new(()), true).ok().map(drop);
            }
            respond.send_reset(Reason::INTERNAL_ERROR);
            Some(())
        }
    });
    let rig = backend.rig();
    let mut client = rig.connect();
    for want in [200, 502] {
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response().status, want);
    }
    assert_eq!((taken.load(Ordering::Relaxed), backend.connections.load(Ordering::Relaxed)), (2, 1));
}

#[test]
fn a_response_that_is_cut_is_reset_and_a_client_that_leaves_is_noticed() {
    let cut = Backend::raw(|mut stream, _| {
        crate::rig::read_head(&mut std::io::BufReader::new(stream.try_clone().expect("cloned")));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").expect("sent");
    });
    let rig = Rig::start(&[cut.address]);
    run(async {
        let (response, _) = connect(rig.http).await.send_request(get("/"), true).expect("sent");
        // The reset may overtake the head.
        let error = match response.await {
            Ok(head) => collect(&mut head.into_body()).await.expect_err("cut"),
            Err(error) => error,
        };
        assert!(error.is_reset(), "{error}");
    });
    let silent = Backend::raw(|mut stream, _| drop(std::io::copy(&mut stream, &mut std::io::sink())));
    let rig = Rig::start(&[silent.address]);
    run(async {
        let (response, mut up) = connect(rig.http).await.send_request(post("/"), false).expect("sent");
        eventually_async(|| rig.counters.requests_active.get() == 1).await;
        up.send_reset(Reason::CANCEL);
        drop(response);
        eventually_async(|| rig.counters.requests_active.get() == 0).await;
    });
}

#[test]
fn an_idle_connection_is_told_goodbye_and_a_drained_one_finishes() {
    let backend = Backend::http(|seen| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        ok(seen.path().as_bytes())
    });
    let mut rig = Rig::limited(&[backend.address], |limits| limits.idle_ms_max = 200);
    run(async {
        let mut send = connect(rig.http).await;
        assert_eq!(exchange(&mut send, get("/"), None).await.head.status, 200);
        eventually_async(|| rig.counters.connections_active.get() == 0).await;
        let mut send = connect(rig.http).await;
        let (response, _) = send.send_request(get("/late"), true).expect("sent");
        eventually_async(|| rig.counters.requests_active.get() == 1).await;
        rig.proxy.as_ref().expect("it runs").stop_accepting();
        let (_, mut body) = response.await.expect("a response").into_parts();
        assert_eq!(collect(&mut body).await.expect("a body").0, b"/late");
        eventually_async(|| rig.counters.connections_active.get() == 0).await;
    });
    assert_eq!(rig.proxy.take().expect("it ran").drain(PATIENCE), 0);
}

#[test]
fn frames_without_content_in_masses_end_the_connection() {
    let rig = Rig::start(&[]);
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for frame in [ping.as_slice(), &settings] {
        let mut stream = dial(rig.http);
        let before = rig.counters.h2_floods.get();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("sent");
        let flood: Vec<u8> = frame.repeat(3_000);
        // It may end while we send.
        let _ = stream.write_all(&flood);
        eventually("the end of a flooded connection", || rig.counters.h2_floods.get() == before + 1);
        eventually("its close", || rig.counters.connections_active.get() == 0);
    }
}

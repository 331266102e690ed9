use std::net::TcpListener;
use std::thread;

use super::*;

/// Answers `times` connections with `answer`, on loopback.
fn server(answer: &'static str, times: usize) -> (ServerUrl, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let serve = thread::spawn(move || {
        for stream in listener.incoming().take(times) {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            let mut piece = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let n = stream.read(&mut piece).expect("a request");
                request.extend_from_slice(&piece[..n]);
            }
            stream.write_all(answer.as_bytes()).expect("written");
        }
    });
    (ServerUrl::parse(&url).expect("valid"), serve)
}

fn level_of(answer: &'static str, check: impl Fn(&ServerUrl) -> Check) -> Level {
    let (url, serve) = server(answer, 1);
    let check = check(&url);
    serve.join().expect("served");
    check.level
}

#[test]
fn an_endpoint_that_lists_models_is_ok_and_one_that_refuses_is_fatal() {
    let ok = "HTTP/1.1 200 OK\r\n\r\n{}";
    assert_eq!(level_of(ok, endpoint), Level::Ok);
    assert_eq!(level_of("HTTP/1.1 401 No\r\n\r\n", endpoint), Level::Warn);
    assert_eq!(level_of("SSH-2.0-x\r\n", endpoint), Level::Warn);
    // A port that was free a moment ago and has no listener.
    let free = TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound");
    let gone = ServerUrl::parse(&format!("http://{free}")).expect("valid");
    assert_eq!(endpoint(&gone).level, Level::Fail);
}

#[test]
fn an_exporter_must_have_samples_and_is_fatal_only_where_it_was_asked_for() {
    let asked = |url: &ServerUrl| exporter("x", url, true);
    let default = |url: &ServerUrl| exporter("x", url, false);
    assert_eq!(level_of("HTTP/1.1 200 OK\r\n\r\n# TYPE a counter\na 1\n", asked), Level::Ok);
    assert_eq!(level_of("HTTP/1.1 200 OK\r\n\r\n# nothing\n", asked), Level::Fail);
    assert_eq!(level_of("HTTP/1.1 404 Not Found\r\n\r\n", asked), Level::Fail);
    assert_eq!(level_of("HTTP/1.1 404 Not Found\r\n\r\n", default), Level::Warn);
}

#[test]
fn too_few_descriptors_are_fatal() {
    assert_eq!(descriptors(None, 1000).level, Level::Ok);
    assert_eq!(descriptors(Some(1064), 1000).level, Level::Ok);
    assert_eq!(descriptors(Some(1063), 1000).level, Level::Fail);
}

#[test]
fn a_coarse_clock_is_said() {
    assert_eq!(judge_clock(Duration::from_nanos(30)).level, Level::Ok);
    assert_eq!(judge_clock(Duration::from_millis(15)).level, Level::Warn);
    assert!(clock().found.starts_with("the monotonic clock steps by"));
}

#[test]
fn missing_nvml_is_a_warning_with_its_reason() {
    let fails: &NvmlProbe = &|_| Err("libnvidia-ml.so.1 does not load".to_owned());
    let check = check_nvml(Some(fails), None);
    assert_eq!(check.level, Level::Warn);
    assert!(check.to_string().contains("libnvidia-ml.so.1 does not load; install"));
    let found = |gpus, xids_unseen| {
        check_nvml(
            Some(&move |_| Ok(NvmlFound { gpus, xids_unseen: Option::clone(&xids_unseen) })),
            None,
        )
    };
    let both = found(2, None);
    assert_eq!((both.level, both.found.as_str()), (Level::Ok, "2 GPUs, XID events are seen"));
    let unseen = found(1, Some("XID events cannot be seen: not supported".to_owned()));
    assert_eq!(unseen.level, Level::Warn);
    assert!(unseen.to_string().contains("1 GPU; XID events cannot be seen: not supported; look"));
    assert_eq!(found(0, None).found, "it loads, but lists no GPU");
}

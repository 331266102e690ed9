//! Request bodies of a file, on the wire.

use phasegate_core::CreditId;
use phasegate_core::record::{Credit, Item, Outcome};
use phasegate_runtime::config::{InputConfig, InputFile, InputFormat};
use phasegate_runtime::load::prompts::prompts;

use crate::support::{Bench, LONG, Server, Step, chat, plain, stream, write};

#[tokio::test]
async fn a_body_is_on_the_wire_as_in_the_file_and_its_answer_is_read_as_it_asks() {
    let bodies = [
        r#"{"z":0.10, "messages":[{"role":"user","content":"x"}],"stream": false,"model":"own"}"#,
        r#"{"stream":true,"model":"own","messages":[ {"role":"user","content":"y"} ]}"#,
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bodies.join("\n")).unwrap();
    let answer = "{\"choices\":[{\"message\":{\"content\":\"hi\"}}],\
                  \"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}";
    // No content type: only the request tells whether it is a stream.
    let whole = plain("200 OK", "text/plain", answer);
    let streamed = String::from_utf8(stream()).unwrap().replace("text/event-stream", "text/plain");
    let script = vec![Step::Request, write(whole), Step::Request, write(streamed), Step::Hold];
    let server = Server::start(vec![script]).await;
    // Whatever the run would ask for.
    for streaming in [true, false] {
        let mut endpoint = chat(&server.url);
        endpoint.streaming = streaming;
        let input = InputConfig {
            file: Some(InputFile { path: file.path().to_owned(), format: InputFormat::Openai }),
            ..InputConfig::synthetic(1, Some(9))
        };
        let prompts = prompts(&input, endpoint.kind, 0).unwrap();
        let mut bench = Bench::with(&endpoint, 1, |config| config.prompts = prompts);
        let mut records = Vec::new();
        for index in 0..2 {
            let planned = bench.clock.now();
            bench.engine.issue(Credit {
                id: CreditId { phase: 0, number: index },
                planned,
                deadline: planned + LONG,
                item: Item::single(index, index),
                cancel_after: None,
            });
            records.push(bench.done().await.record);
        }
        for record in &records {
            assert_eq!((record.outcome, record.output_tokens), (Outcome::Completed, Some(2)));
        }
        assert_eq!((records[0].chunks, records[1].chunks), (0, 2));
    }
    let sent = server.requests();
    for (request, (body, accept)) in
        sent.iter().zip(bodies.into_iter().zip(["application/json", "text/event-stream"]).cycle())
    {
        let (head, on_the_wire) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(on_the_wire, body);
        assert!(head.contains(&format!("accept: {accept}")), "{head}");
    }
    assert_eq!(sent.len(), 4);
}

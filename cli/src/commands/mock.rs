//! `phasegate mock`: serves the simulated inference server until it is told to
//! stop.

use phasegate_runtime::session::raise_file_limit;
use phasegate_sim::server::{Hazard, Server, ServerConfig};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::mock::MockArgs;
use crate::exit::{Exit, complain};
use crate::output::print;

/// Serves.
#[must_use]
pub fn run(args: &MockArgs) -> Exit {
    let config = match config(args) {
        Ok(config) => config,
        Err(problem) => {
            complain(problem);
            return Exit::Usage;
        }
    };
    // As many connections as the system allows; how many come is not known.
    let _ = raise_file_limit(0);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format!("no threads could be started: {error}"));
            return Exit::ConditionFailed;
        }
    };
    let exit = runtime.block_on(serve(config, args.exit_with_stdin));
    // A read of standard input cannot be called back.
    runtime.shutdown_background();
    exit
}

fn config(args: &MockArgs) -> Result<ServerConfig, String> {
    let hazards = args
        .hazard
        .iter()
        .map(|text| text.parse::<Hazard>().map_err(|error| format!("--hazard {text}: {error}")));
    let config = ServerConfig {
        host: args.host,
        port: args.port,
        model: args.model.clone(),
        ttft: args.ttft,
        prefill_per_token: args.prefill_per_token,
        itl: args.itl,
        jitter: args.jitter,
        tokens_per_chunk: args.tokens_per_chunk,
        reasoning_tokens: args.reasoning_tokens,
        max_batch: args.max_batch,
        gpus: args.gpus,
        seed: args.seed,
        hazards: hazards.collect::<Result<_, _>>()?,
        ..ServerConfig::default()
    };
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

async fn serve(config: ServerConfig, exit_with_stdin: bool) -> Exit {
    // Heard from before the address is printed, since whoever reads it may ask
    // for the end at once.
    let (Ok(mut int), Ok(mut term)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        complain("signals cannot be heard here, so the server could not be stopped");
        return Exit::ConditionFailed;
    };
    let (host, port) = (config.host, config.port);
    let server = match Server::bind(config).await {
        Ok(server) => server,
        Err(error) => {
            complain(format!("{host}:{port} cannot be listened on: {error}"));
            return Exit::Usage;
        }
    };
    let listening = format!("phasegate mock listens on http://{}\n", server.local_addr());
    if print(&listening) != Exit::Done {
        return Exit::ConditionFailed;
    }
    let stopped = async {
        tokio::select! {
            biased;
            _ = int.recv() => {}
            _ = term.recv() => {}
            () = stdin_ended(), if exit_with_stdin => {}
        }
    };
    match server.run(stopped).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(format!("the server stopped: {error}"));
            Exit::ConditionFailed
        }
    }
}

async fn stdin_ended() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 64];
    while stdin.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}

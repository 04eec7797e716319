//! A daemon with a prepared model, as most scenarios want it.

use crate::daemon::Daemon;
use crate::load::one;
use crate::mix::{Kind, Request, Yardstick};
use crate::model::Model;
use crate::server::Server;
use crate::socket::Socket;
use std::path::PathBuf;

/// What all scenarios of one run have in common.
pub struct Site {
    pub slmd: PathBuf,
    pub model: Model,
    pub engine: String,
    pub threads: usize,
    pub max_step_ms: u32,
    pub seed: u64,
}

impl Site {
    /// The daemon's configuration; `budget` are further lines of `[budget]`.
    pub fn config(&self, sessions: usize, queue: usize, budget: &str) -> String {
        format!(
            "model = {:?}\nengine = {:?}\nthreads = {}\n[unix]\nallow-groups = []\n[latency]\n\
             max-step-ms = {}\n[budget]\ncontext-tokens = {}\nsessions = {sessions}\n\
             queue = {queue}\n{budget}\n",
            self.model.path().display().to_string(),
            self.engine,
            self.threads,
            self.max_step_ms,
            self.model.context_tokens,
        )
    }

    /// A daemon that serves.
    pub fn start(&self, sessions: usize, queue: usize, budget: &str) -> Daemon {
        Daemon::start_program(&self.slmd, &self.config(sessions, queue, budget), &[])
    }

    /// Of rows of a table: which model, which engine.
    pub fn cells(&self) -> [String; 2] {
        [self.model.name.clone(), self.engine.clone()]
    }

    /// What loads have: prompts to a quarter of the context, answers to an eighth.
    pub fn kind(&self) -> Kind {
        let context = self.model.context_tokens;
        Kind { longest: (context / 4, context as u32 / 8), early: false, plain: false }
    }

    /// What is asked of a daemon by [`Socket`].
    pub fn socket(&self, daemon: &Daemon) -> Socket {
        Socket::connect(&daemon.socket(), daemon.pid())
    }

    /// Measures single requests on an idle server.
    pub fn yardstick(&self, server: &mut dyn Server) -> Yardstick {
        const ROUNDS: usize = 9;
        let (prompt, answer) = self.kind().longest;
        let shapes = [(8, 1), (prompt, 1), (8, answer)];
        let mut took_ms = [const { Vec::new() }; 3];
        let mut mix =
            crate::mix::Mix::new(&self.model, Yardstick::default(), self.kind(), self.seed);
        let mut counts = [0; 3];
        for _ in 0..ROUNDS {
            for (index, (prompt, answer)) in shapes.into_iter().enumerate() {
                let (text, count) = mix.prompt(prompt);
                counts[index] = count;
                let record = one(server, Request::unhurried(text, count, answer));
                took_ms[index].push(record.took_ms().expect("an answer"));
            }
        }
        let [short, long, talk] = took_ms.map(|ms| crate::report::Spread::of(&ms).median);
        let prefill_ms = ((long - short) / (counts[1] - counts[0]) as f64).max(0.0);
        let decode_ms = ((talk - short) / f64::from(answer - 1)).max(0.0);
        let base_ms = (short - counts[0] as f64 * prefill_ms - decode_ms).max(0.0);
        Yardstick { base_ms, prefill_ms, decode_ms }
    }
}

/// Steps of the engine so far and their microseconds.
pub fn decode_steps(daemon: &Daemon) -> (f64, f64) {
    let status = daemon.client().status().expect("a status");
    let figure = |name: &str| status["steps"][name].as_f64().expect("it counts its steps");
    (figure("decode"), figure("decode_us"))
}

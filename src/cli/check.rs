//! `slmd check`: validates files without serving anything.

use super::args::CheckArgs;
use super::exit::{DATA, Failure};
use super::{boards, config, facts, serve};
use crate::board::BoardProfile;
use crate::bundle::Bundle;
use crate::runtime::Model;
use crate::supervisor;
use serde_json::{Value, json};
use std::path::Path;

/// Checks what was named; the configuration in force if nothing was.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let mut found = serde_json::Map::new();
    if let Some(board) = &args.board {
        found.insert("board".into(), boards::facts(&BoardProfile::find(board)?));
    }
    if args.boards {
        let all = BoardProfile::shipped()?;
        let named = all.iter().map(|profile| (profile.name.clone(), boards::facts(profile)));
        found.insert("boards".into(), Value::Object(named.collect()));
    }
    let mut tasks = Vec::new();
    let mut model = args.model.clone();
    let nothing_else = args.board.is_none() && !args.boards && args.model.is_none();
    if args.config.is_some() || nothing_else {
        let settings = serve::settings(args.config.as_deref(), &[])?;
        found.insert("configuration".into(), Value::Object(config::facts(&settings)));
        if let Some((_, warnings)) = supervisor::link_options(&settings)? {
            found.insert("mqtt".into(), json!({ "warnings": warnings }));
        }
        tasks = settings.tasks.iter().map(|t| t.value.clone()).collect();
        model = model.or(settings.model.value);
    }
    if let Some(model) = &model {
        found.insert("model".into(), model_facts(model, &tasks)?);
    }
    facts::print(&Value::Object(found), args.json)
}

fn model_facts(dir: &Path, tasks: &[crate::bundle::Task]) -> Result<Value, Failure> {
    let bundle = Bundle::open(dir, None).map_err(|e| Failure::new(DATA, e.to_string()))?;
    let model = Model::new(&bundle, tasks).map_err(|e| Failure::new(DATA, e.to_string()))?;
    let graph = &bundle.graph;
    Ok(json!({
        "name": bundle.name,
        "version": bundle.version,
        "layout": format!("{:?}", bundle.layout),
        "sha256": bundle.hash,
        "verified": bundle.verified,
        "bytes": bundle.total_bytes,
        "graph": graph.file_name(),
        "layers": graph.layers.len(),
        "kv_heads": graph.kv_heads,
        "head_dim": graph.head_dim,
        "kv": graph.kv().name(),
        "kv_update": format!("{:?}", graph.kv_update),
        "kv_bytes_per_token": graph.kv_bytes_per_token(),
        "vocabulary": graph.vocab_size,
        "context_tokens": graph.context_length,
        "chat_template": model.chat.is_some(),
        "eos": model.eos.to_vec(),
        "tasks": model.tasks.keys().collect::<Vec<_>>(),
    }))
}

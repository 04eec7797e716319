//! Choosing among labels: how likely each is as the answer, by the model's own distribution.
//!
//! The labels' tokens form a trie. The prompt's logits give the probabilities of all first tokens at
//! once; each further token at which labels go on costs one step, from where it parts from the one
//! before (the tokens after that are taken back). The score of a label is the sum of the
//! log-probabilities of its tokens, over the whole vocabulary: the probability that the answer begins
//! with it. Where another label goes on from it, that the answer ends there counts too. So the scores
//! are those of disjoint events, and no label gains by being short but by what the model thinks of
//! short answers. With [`Score::Mean`] the sum is divided by the number of tokens, for models that were
//! never taught the labels (`acc_norm` of the Language Model Evaluation Harness, by token).

use super::constraint::ConstraintError;
use super::sampler::{SampleError, log_sum_exp};
use crate::core::request::Score;

/// Labels of one choice.
const MAX_LABELS: usize = 256;
/// Bytes of all labels together.
const MAX_LABEL_BYTES: usize = 32 << 10;
/// Tokens of all labels together, each beginning that they share once.
const MAX_TOKENS: usize = 1024;
/// Memory of the largest choice.
const MAX_CHOICES_BYTES: usize =
    MAX_LABEL_BYTES + MAX_LABELS * (size_of::<String>() + 8) + (MAX_TOKENS + 1) * size_of::<Node>();

const NONE: u32 = u32::MAX;

// As the sheet has it.
const _: () = assert!(MAX_CHOICES_BYTES <= 72 << 10);

/// A choice while it is being made.
#[derive(Debug, Clone)]
pub struct Choices {
    labels: Vec<String>,
    score: Score,
    /// The root first, each node before those below it.
    nodes: Vec<Node>,
    /// Where each label ends.
    ends: Vec<u32>,
    /// The node whose logits come next.
    at: usize,
}

/// A token, after those of the nodes above it.
#[derive(Debug, Clone, Copy)]
struct Node {
    token: u32,
    /// How many tokens lead here, this one included.
    depth: u32,
    first_child: u32,
    next_sibling: u32,
    /// The log-probability of the tokens up to here, and of those with the end after them.
    log: f32,
    log_end: f32,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Take back the last tokens, and feed this one.
    Feed {
        /// How many are taken back.
        back: u32,
        /// What is fed.
        token: u32,
    },
    /// Every label has its score.
    Done,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Each label and its probability, in the order asked for; they add up to 1.
    pub probabilities: Vec<(String, f32)>,
    /// The likeliest; of equals the first.
    pub best: usize,
    /// By how much it is more likely than the next one.
    pub margin: f32,
}

impl Choices {
    /// For `labels`, each with the tokens that spell it.
    ///
    /// # Errors
    /// [`ConstraintError`] if there are none, too many, or two of the same tokens.
    pub fn new(labels: &[(String, Vec<u32>)], score: Score) -> Result<Self, ConstraintError> {
        let over = |limit: String| ConstraintError::TooLarge { what: "choices", limit };
        let wrong = |problem: String| ConstraintError::Invalid { what: "choices", problem };
        if labels.is_empty() || labels.iter().any(|(_, tokens)| tokens.is_empty()) {
            return Err(wrong("at least one label, none of them empty".into()));
        }
        if labels.len() > MAX_LABELS {
            return Err(over(format!("{MAX_LABELS} labels")));
        }
        if labels.iter().map(|(label, _)| label.len()).sum::<usize>() > MAX_LABEL_BYTES {
            return Err(over(format!("{MAX_LABEL_BYTES} bytes")));
        }
        let mut trie = vec![Node::new(NONE, 0)];
        let mut ends = Vec::with_capacity(labels.len());
        for (label, tokens) in labels {
            let end = tokens.iter().fold(0, |at, &token| child(&mut trie, at, token));
            if ends.contains(&end) {
                return Err(wrong(format!("{label:?} has the same tokens as another label")));
            }
            if trie.len() > MAX_TOKENS + 1 {
                return Err(over(format!("{MAX_TOKENS} tokens")));
            }
            ends.push(end);
        }
        let (nodes, moved) = in_order(&trie);
        Ok(Self {
            labels: labels.iter().map(|(label, _)| label.clone()).collect(),
            score,
            nodes,
            ends: ends.iter().map(|&end| moved[end as usize]).collect(),
            at: 0,
        })
    }

    /// Logits that are needed, those of the prompt included.
    pub fn steps(&self) -> u32 {
        self.nodes.iter().filter(|node| node.goes_on()).count() as u32
    }

    /// The most tokens that are in the slot at once after the prompt.
    pub fn depth(&self) -> u32 {
        self.nodes.iter().filter(|node| node.goes_on()).map(|node| node.depth).max().unwrap_or(0)
    }

    /// Takes the logits (`[vocab_size]`, minus infinity for what is no token) after the prompt, then
    /// after each token that [`Turn::Feed`] asked for. `eos` are the tokens that end an answer.
    ///
    /// # Errors
    /// [`SampleError::NoToken`] if every logit is minus infinity or NaN.
    pub fn take(&mut self, logits: &[f32], eos: &[u32]) -> Result<Turn, SampleError> {
        let total = log_sum_exp(logits)?;
        let here = self.nodes[self.at];
        let log = |token: u32| {
            let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
            if logit.is_nan() { f32::NEG_INFINITY } else { logit - total }
        };
        let end: f64 = eos.iter().map(|&token| f64::from(log(token)).exp()).sum();
        self.nodes[self.at].log_end = here.log + end.ln() as f32;
        let mut next = here.first_child;
        while let Some(node) = self.nodes.get_mut(next as usize) {
            node.log = here.log + log(node.token);
            next = node.next_sibling;
        }
        let after = self.nodes[self.at + 1..].iter().position(|node| node.goes_on());
        let Some(after) = after else { return Ok(Turn::Done) };
        self.at += 1 + after;
        let node = self.nodes[self.at];
        Ok(Turn::Feed { back: here.depth + 1 - node.depth, token: node.token })
    }

    /// The score of each label, a log-probability.
    pub fn scores(&self) -> impl Iterator<Item = f32> + '_ {
        self.ends.iter().map(|&end| {
            let node = &self.nodes[end as usize];
            let sum = if node.goes_on() { node.log_end } else { node.log };
            match self.score {
                Score::Sum => sum,
                Score::Mean => sum / node.depth as f32,
            }
        })
    }

    /// The outcome, with scores divided by `temperature`.
    ///
    /// # Errors
    /// [`SampleError::NoToken`] if the model holds every label to be impossible.
    pub fn chosen(&self, temperature: f32) -> Result<Chosen, SampleError> {
        let scores: Vec<f32> = self.scores().map(|score| score / temperature).collect();
        let total = log_sum_exp(&scores)?;
        let all = scores.iter().map(|score| (score - total).exp());
        let probabilities: Vec<(String, f32)> = self.labels.iter().cloned().zip(all).collect();
        let better = |best: usize, i: usize| if scores[i] > scores[best] { i } else { best };
        let best = (0..scores.len()).reduce(better).unwrap_or(0);
        let others = probabilities.iter().enumerate().filter(|(i, _)| *i != best);
        let next = others.map(|(_, (_, p))| *p).fold(0.0, f32::max);
        let margin = probabilities[best].1 - next;
        Ok(Chosen { probabilities, best, margin })
    }
}

impl Node {
    const fn new(token: u32, depth: u32) -> Self {
        Self { token, depth, first_child: NONE, next_sibling: NONE, log: 0.0, log_end: 0.0 }
    }

    const fn goes_on(&self) -> bool {
        self.first_child != NONE
    }
}

/// The child of `at` with that token, made if there is none: behind its siblings.
fn child(trie: &mut Vec<Node>, at: u32, token: u32) -> u32 {
    let made = trie.len() as u32;
    let (mut last, mut next) = (NONE, trie[at as usize].first_child);
    while next != NONE {
        if trie[next as usize].token == token {
            return next;
        }
        (last, next) = (next, trie[next as usize].next_sibling);
    }
    match last {
        NONE => trie[at as usize].first_child = made,
        last => trie[last as usize].next_sibling = made,
    }
    let depth = trie[at as usize].depth + 1;
    trie.push(Node::new(token, depth));
    made
}

/// The nodes with each subtree in one piece, and where each has gone: whoever walks through them goes
/// back as little as possible.
fn in_order(trie: &[Node]) -> (Vec<Node>, Vec<u32>) {
    let (mut nodes, mut moved) = (Vec::with_capacity(trie.len()), vec![0; trie.len()]);
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        let node = trie[at as usize];
        moved[at as usize] = nodes.len() as u32;
        nodes.push(node);
        // A child comes before a sibling.
        open.extend([node.next_sibling, node.first_child].into_iter().filter(|&n| n != NONE));
    }
    let goes = |to: u32| if to == NONE { NONE } else { moved[to as usize] };
    for node in &mut nodes {
        (node.first_child, node.next_sibling) = (goes(node.first_child), goes(node.next_sibling));
    }
    (nodes, moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EOS: [u32; 1] = [9];

    /// Logits after some tokens, of a model of ten tokens.
    fn logits(after: &[u32]) -> Vec<f32> {
        let mut state =
            after.iter().fold(17u64, |s, &t| (s + u64::from(t) + 1).wrapping_mul(0x9e37_79b9));
        (0..10)
            .map(|_| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                (state >> 40) as f32 / (1 << 22) as f32
            })
            .collect()
    }

    fn log_softmax(after: &[u32], token: u32) -> f64 {
        let logits = logits(after);
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        f64::from(logits[token as usize]) - total.ln()
    }

    /// Token by token, from the prompt on.
    fn brute_force(tokens: &[u32], is_prefix: bool) -> f64 {
        let each = (0..tokens.len()).map(|i| log_softmax(&tokens[..i], tokens[i]));
        each.sum::<f64>() + if is_prefix { log_softmax(tokens, EOS[0]) } else { 0.0 }
    }

    /// Has the model walk through the trie; gives how many logits it took.
    fn walk(choices: &mut Choices) -> u32 {
        let (mut fed, mut steps, mut deepest) = (Vec::new(), 1, 0);
        while let Turn::Feed { back, token } = choices.take(&logits(&fed), &EOS).expect("finite") {
            fed.truncate(fed.len() - back as usize);
            fed.push(token);
            deepest = deepest.max(fed.len());
            steps += 1;
        }
        assert_eq!(deepest, choices.depth() as usize);
        steps
    }

    fn labels(tokens: &[Vec<u32>]) -> Vec<(String, Vec<u32>)> {
        tokens.iter().map(|t| (format!("{t:?}"), t.clone())).collect()
    }

    #[test]
    fn labels_of_one_token_need_the_prompt_alone() {
        let mut choices = Choices::new(&labels(&[vec![1], vec![2]]), Score::Sum).expect("sound");
        assert_eq!((choices.steps(), choices.depth()), (1, 0));
        assert_eq!(walk(&mut choices), 1);
        let chosen = choices.chosen(1.0).expect("finite");
        let sure = log_softmax(&[], 1) - log_softmax(&[], 2);
        let p = 1.0 / (1.0 + (-sure).exp());
        assert!((f64::from(chosen.probabilities[0].1) - p).abs() < 1e-5, "{chosen:?}");
        let margin = (chosen.probabilities[0].1 - chosen.probabilities[1].1).abs();
        assert!((chosen.margin - margin).abs() < 1e-6);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let code = |tokens: &[Vec<u32>]| Choices::new(&labels(tokens), Score::Sum).map(|_| ());
        assert!(matches!(code(&[]), Err(ConstraintError::Invalid { .. })));
        assert!(matches!(code(&[vec![1], vec![]]), Err(ConstraintError::Invalid { .. })));
        assert!(matches!(code(&[vec![1], vec![1]]), Err(ConstraintError::Invalid { .. })));
        let long: Vec<Vec<u32>> = (0..40).map(|i| vec![i; 30]).collect();
        assert!(matches!(code(&long), Err(ConstraintError::TooLarge { .. })));
        let one = Choices::new(&labels(&[vec![1]]), Score::Sum).expect("sound");
        let mut impossible = one.clone();
        let mut row = vec![0.0; 10];
        row[1] = f32::NEG_INFINITY;
        assert_eq!(impossible.take(&row, &EOS), Ok(Turn::Done));
        assert_eq!(impossible.chosen(1.0), Err(SampleError::NoToken));
    }

    proptest! {
        #[test]
        fn scores_are_those_of_each_label_alone(
            tokens in proptest::collection::btree_set(proptest::collection::vec(0u32..4, 1..5), 1..12),
            mean: bool,
        ) {
            let tokens: Vec<Vec<u32>> = tokens.into_iter().collect();
            let score = if mean { Score::Mean } else { Score::Sum };
            let mut choices = Choices::new(&labels(&tokens), score).expect("sound");
            prop_assert_eq!(choices.steps(), walk(&mut choices));
            for (label, score) in tokens.iter().zip(choices.scores()) {
                let is_prefix = tokens.iter().any(|t| t.len() > label.len() && t.starts_with(label));
                let sum = brute_force(label, is_prefix);
                let wanted = if mean { sum / label.len() as f64 } else { sum };
                prop_assert!((f64::from(score) - wanted).abs() < 1e-4, "{label:?}: {score} {wanted}");
            }
            let chosen = choices.chosen(1.0).expect("finite");
            let all: f32 = chosen.probabilities.iter().map(|(_, p)| p).sum();
            prop_assert!((all - 1.0).abs() < 1e-5);
        }
    }
}

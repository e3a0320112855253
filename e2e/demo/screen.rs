//! The live table: who gets what weight, how it answers, what the operator says. Plain lines when nobody watches a
//! terminal.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    task::JoinHandle,
    time::{Instant, interval},
};

use crate::harness::{Load, MODEL, Scene, Seen};

/// The rates and latencies are those of the last seconds.
const WINDOW: Duration = Duration::from_secs(5);

/// What is shown while the story is told.
pub struct Screen {
    bar: Option<ProgressBar>,
    started: Instant,
    act: Arc<Mutex<String>>,
    refresh: Option<JoinHandle<()>>,
}

impl Screen {
    /// An empty screen.
    pub fn new() -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            // A template without placeholders that could be wrong.
            bar.set_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        Self { bar, started: Instant::now(), act: Arc::default(), refresh: None }
    }

    /// A new act begins.
    pub fn act(&self, sentence: &str) {
        sentence.clone_into(&mut self.act.lock().unwrap_or_else(PoisonError::into_inner));
        self.say(sentence);
    }

    /// A line that stays.
    pub fn say(&self, sentence: &str) {
        let line = format!("{} {sentence}", clock(self.started));
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    /// Shows the scene under its load from now on.
    pub fn show(&mut self, scene: &Arc<Scene>, load: &Arc<Load>) {
        let (scene, load, act) = (Arc::clone(scene), Arc::clone(load), Arc::clone(&self.act));
        let (bar, started) = (self.bar.clone(), self.started);
        self.refresh = Some(tokio::spawn(async move {
            let mut beat = interval(Duration::from_millis(if bar.is_some() { 250 } else { 5000 }));
            let mut told = 0;
            loop {
                beat.tick().await;
                if let Some(bar) = &bar {
                    let act = act.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    bar.set_message(format!(
                        "{} {act}\n{}\n{}",
                        clock(started),
                        table(&scene, &load),
                        status(&scene)
                    ));
                    bar.tick();
                } else {
                    for line in news(&scene, &mut told) {
                        println!("{} {line}", clock(started));
                    }
                    println!("{} {}", clock(started), line(&scene, &load));
                }
            }
        }));
    }

    /// Ends it; what was said stays.
    pub fn end(&mut self) {
        if let Some(refresh) = self.refresh.take() {
            refresh.abort();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end();
    }
}

fn clock(started: Instant) -> String {
    let seconds = started.elapsed().as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// A version's answers.
#[derive(Default)]
struct Row {
    weight: i64,
    requests: usize,
    failed: usize,
    recent: Vec<Duration>,
}

fn rows(scene: &Scene, load: &Load) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (version, weight) in weights(scene) {
        rows.entry(version).or_default().weight = weight;
    }
    let recent = load.now().saturating_sub(WINDOW);
    load.each(|answer| {
        let row = rows.entry(answer.version.as_deref().unwrap_or("no version").to_owned()).or_default();
        row.requests += 1;
        row.failed += usize::from(!answer.is_good());
        if answer.at >= recent {
            row.recent.push(answer.took);
        }
    });
    for row in rows.values_mut() {
        row.recent.sort_unstable();
    }
    rows
}

fn weights(scene: &Scene) -> BTreeMap<String, i64> {
    let all = scene.timeline.all();
    let last = all.into_iter().rev().find_map(|(_, seen)| match seen {
        Seen::Route(route) if route.name == MODEL => Some(route.weights),
        _ => None,
    });
    last.unwrap_or_default()
}

fn percentile(sorted: &[Duration], hundredths: usize) -> String {
    let index = sorted.len().saturating_sub(1) * hundredths / 100;
    sorted.get(index).map_or_else(|| "-".to_owned(), |took| format!("{} ms", took.as_millis()))
}

fn table(scene: &Scene, load: &Load) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["version", "weight", "requests", "failed", "requests/s", "median", "p99"]);
    for (version, row) in rows(scene, load) {
        table.add_row([
            version,
            format!("{} %", row.weight / 100),
            row.requests.to_string(),
            row.failed.to_string(),
            (row.recent.len() / 5).to_string(),
            percentile(&row.recent, 50),
            percentile(&row.recent, 99),
        ]);
    }
    table
}

fn line(scene: &Scene, load: &Load) -> String {
    let rows = rows(scene, load);
    let of_version = |(version, row): (&String, &Row)| {
        let weight = row.weight / 100;
        format!(
            "{version} {weight} % ({} requests, {} failed, p99 {})",
            row.requests,
            row.failed,
            percentile(&row.recent, 99)
        )
    };
    // What had traffic once and has none any more is no news.
    let present = |(_, row): &(&String, &Row)| row.weight > 0 || !row.recent.is_empty();
    rows.iter().filter(present).map(of_version).collect::<Vec<_>>().join(" · ")
}

fn status(scene: &Scene) -> String {
    let all = scene.timeline.all();
    let last = all.into_iter().rev().find_map(|(_, seen)| match seen {
        Seen::Model { phase, message, .. } => Some(format!("{phase:?}: {message}")),
        _ => None,
    });
    last.unwrap_or_default()
}

/// What happened since it was last told.
fn news(scene: &Scene, told: &mut usize) -> Vec<String> {
    let seen = scene.timeline.since(*told);
    *told += seen.len();
    seen.iter().map(ToString::to_string).collect()
}

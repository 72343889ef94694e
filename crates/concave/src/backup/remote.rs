//! Backups of a running server over HTTP: what it gives, and how it is fetched.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use axum::body::{Body, HttpBody as _};
use axum::http::{Response, StatusCode, Uri};
use functions::InstanceSecret;
use server::auth::HttpFetch;
use server::http::backup::{BackupSource, PATH};

use super::{Envelope, Manifest, beside, create, finish, manifest, read, say};
use crate::config::Data;

/// Bytes of a refusal that are shown.
const REFUSAL_BYTES_MAX: usize = 1000;

/// The data of this process, for those who ask for a backup.
pub(crate) struct RunningData {
    database: PathBuf,
    name: String,
    secret: InstanceSecret,
}

impl RunningData {
    /// Removes what a process before this one may have left. The data must be this process's own.
    pub(crate) fn new(data: &Data, name: &str, secret: InstanceSecret) -> RunningData {
        let database = data.database.clone();
        let _ = fs::remove_file(copy_of(&database));
        RunningData { database, name: name.to_owned(), secret }
    }

    fn make(&self) -> Result<Envelope> {
        let copy = copy_of(&self.database);
        // From here on the copy has no name: it is gone when nobody has it open, also after a crash.
        let named = Named(copy.clone());
        create(&copy)?;
        let facts = store::copy_database(&self.database, &copy)
            .with_context(|| format!("cannot copy {}", self.database.display()))?;
        let manifest = manifest(&self.name, &self.secret, facts, &copy)?;
        let file = File::open(&copy)?;
        drop(named);
        Envelope::new(&manifest, file)
    }
}

impl BackupSource for RunningData {
    fn open(&self) -> Result<Box<dyn Read + Send>, String> {
        let backup = self.make().map_err(|error| format!("{error:#}"))?;
        Ok(Box::new(backup))
    }
}

fn copy_of(database: &Path) -> PathBuf {
    beside(database, "backup")
}

/// The name of a file, for a while.
struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Fetches a backup of the server at `url` into `file`.
///
/// Errors: a file that exists or cannot be written; a server that cannot be reached or refuses; a
/// backup that did not come whole.
pub(crate) fn download(url: &str, key: &str, file: &Path) -> Result<()> {
    ensure!(!file.exists(), "{} exists already", file.display());
    let whole = format!("{}{PATH}", url.trim_end_matches('/'));
    let whole: Uri = whole.parse().with_context(|| format!("--url cannot be {url:?}"))?;
    ensure!(
        matches!(whole.scheme_str(), Some("http" | "https")),
        "--url takes an http or https URL, not {url:?}"
    );
    let part = beside(file, "part");
    let output = create(&part)?;
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(fetch(whole, key, output)))
        .with_context(|| format!("cannot have a backup of {url}"))
        .and_then(|()| check(&part))
        .and_then(|manifest| finish(&part, file).map(|()| manifest));
    if done.is_err() {
        let _ = fs::remove_file(&part);
    }
    say(file, &done?)
}

async fn fetch(url: Uri, key: &str, mut output: File) -> Result<()> {
    let response = HttpFetch::new().post(url, &format!("Convex {key}")).await?;
    if response.status() != StatusCode::OK {
        return refused(response).await;
    }
    let mut body = response.into_body();
    while let Some(piece) = next(&mut body).await {
        output.write_all(&piece.context("it broke off")?).context("cannot write it")?;
    }
    output.sync_all().context("cannot write it")
}

async fn refused(response: Response<Body>) -> Result<()> {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await;
    let text = body.unwrap_or_default();
    bail!("it answers {status}: {}", String::from_utf8_lossy(&text))
}

/// The next piece of a body.
async fn next(body: &mut Body) -> Option<Result<axum::body::Bytes, axum::Error>> {
    loop {
        let frame =
            std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await?;
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => return Some(Ok(data)),
            // Trailers.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

fn check(part: &Path) -> Result<Manifest> {
    let input = BufReader::new(File::open(part)?);
    read(input, &mut std::io::sink()).context("what the server sent is no whole backup")
}

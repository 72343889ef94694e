//! `concave backup` and `concave restore`: all data in one file.
//!
//!     magic line │ manifest, one line of JSON │ the database │ SHA-256 of all before
//!
//! The manifest holds name and secret of the deployment, so that admin keys, cursors and journals stay
//! good. A server may run while a backup is made: SQLite copies one snapshot. Nothing is overwritten;
//! a file that was broken off is never called by its final name.

mod remote;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Chain, Cursor, ErrorKind, Read, Take, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use functions::InstanceSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{DatabaseFacts, SCHEMA_VERSION};

use crate::config::Deployment;
use crate::instance::{self, print};
pub(crate) use remote::{RunningData, download};

/// The first line, with the version of the form.
const MAGIC: &str = "CONCAVE BACKUP 1\n";
/// How the first line of every version begins.
const FAMILY: &str = "CONCAVE BACKUP ";
/// Most bytes of the manifest.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the checksum at the end.
const SUM_BYTES: usize = 32;
/// Bytes that are copied at a time.
const STEP_BYTES: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    /// The program that made it.
    version: String,
    schema: u64,
    /// Timestamp of the newest commit in it, in nanoseconds.
    timestamp: u64,
    instance_name: String,
    instance_secret: String,
    database_bytes: u64,
}

/// Writes all data of a deployment, as of one moment, into `file`.
///
/// Errors: no data, no secret; a file that exists or cannot be written.
pub(crate) fn backup(deployment: &Deployment, file: &Path) -> Result<()> {
    let database = &deployment.data.database;
    ensure!(database.exists(), "there is no data: {} does not exist", database.display());
    ensure!(!file.exists(), "{} exists already", file.display());
    let secret = instance::known_secret(deployment)?
        .context("the data folder holds no secret: give the one that the server has")?;
    let (part, copy) = (beside(file, "part"), beside(file, "copy"));
    let output = create(&part)?;
    let done = create(&copy).and_then(|_| {
        let facts = store::copy_database(database, &copy)
            .with_context(|| format!("cannot copy {}", database.display()))?;
        let manifest = manifest(&deployment.name, &secret, facts, &copy)?;
        write(output, &manifest, &copy)?;
        finish(&part, file)?;
        Ok(manifest)
    });
    let _ = fs::remove_file(&copy);
    if done.is_err() {
        let _ = fs::remove_file(&part);
    }
    say(file, &done?)
}

fn say(file: &Path, manifest: &Manifest) -> Result<()> {
    let Manifest { timestamp, database_bytes, .. } = manifest;
    print(&format!("{}: {database_bytes} bytes as of timestamp {timestamp}", file.display()))
}

/// Gives a whole backup its name.
fn finish(part: &Path, file: &Path) -> Result<()> {
    ensure!(!file.exists(), "{} exists already", file.display());
    fs::rename(part, file).context("cannot give the file its name")?;
    sync_folder_of(file)
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// A new file that nobody else may read: it holds secrets.
fn create(path: &Path) -> Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!(
            "{} exists: another backup or restore is under way, or one was broken off; remove it then",
            path.display()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot make {}", path.display())),
    })
}

fn manifest(
    name: &str,
    secret: &InstanceSecret,
    facts: DatabaseFacts,
    copy: &Path,
) -> Result<Manifest> {
    Ok(Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: facts.schema,
        timestamp: facts.committed.0,
        instance_name: name.to_owned(),
        instance_secret: secret.to_hex(),
        database_bytes: fs::metadata(copy)?.len(),
    })
}

fn write(output: File, manifest: &Manifest, copy: &Path) -> Result<()> {
    let mut backup = Envelope::new(manifest, File::open(copy)?)?;
    let bytes = backup.bytes;
    let mut output = BufWriter::with_capacity(STEP_BYTES, output);
    let written = std::io::copy(&mut backup, &mut output)?;
    ensure!(written == bytes, "the copy changed while it was read");
    output.into_inner()?.sync_all()?;
    Ok(())
}

/// A whole backup, to be read.
struct Envelope {
    body: Chain<Cursor<Vec<u8>>, Take<File>>,
    /// Of what was read; none once `end` holds the checksum.
    sum: Option<Sha256>,
    end: Cursor<Vec<u8>>,
    /// Of the whole.
    bytes: u64,
}

impl Envelope {
    fn new(manifest: &Manifest, copy: File) -> Result<Envelope> {
        let mut head = MAGIC.as_bytes().to_vec();
        serde_json::to_writer(&mut head, manifest)?;
        head.push(b'\n');
        let bytes = head.len() as u64 + manifest.database_bytes + SUM_BYTES as u64;
        let body = Cursor::new(head).chain(copy.take(manifest.database_bytes));
        Ok(Envelope { body, sum: Some(Sha256::new()), end: Cursor::default(), bytes })
    }
}

impl Read for Envelope {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if let Some(sum) = &mut self.sum {
            let read = self.body.read(bytes)?;
            if read > 0 {
                sum.update(&bytes[..read]);
                return Ok(read);
            }
            let sum = self.sum.take().unwrap_or_default();
            self.end = Cursor::new(sum.finalize().to_vec());
        }
        self.end.read(bytes)
    }
}

/// Makes the data of a deployment from a backup.
///
/// Errors: a file that is none, is truncated, damaged, or of a newer program; data that is there
/// already; another secret in the folder or in the settings.
pub(crate) fn restore(deployment: &Deployment, file: &Path) -> Result<()> {
    let database = &deployment.data.database;
    for path in [database.clone(), with_suffix(database, "-wal")] {
        ensure!(!path.exists(), "nothing is overwritten: {} exists already", path.display());
    }
    let folder = &deployment.data.folder;
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make data folder {}", folder.display()))?;
    let input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let part = beside(database, "part");
    let output = create(&part)?;
    let done = unpack(input, output, &part)
        .with_context(|| format!("cannot restore {}", file.display()))
        .and_then(|manifest| {
            let secret = InstanceSecret::from_hex(&manifest.instance_secret)
                .context("the backup holds no secret")?;
            match &deployment.secret {
                Some(own) => {
                    ensure!(
                        own.bytes() == secret.bytes(),
                        "the backup has another secret than the settings"
                    )
                }
                None => instance::keep_secret(folder, &secret)?,
            }
            fs::rename(&part, database).context("cannot give the database its name")?;
            sync_folder_of(database)?;
            Ok(manifest)
        });
    if done.is_err() {
        let _ = fs::remove_file(&part);
    }
    let manifest = done?;
    print(&format!(
        "{}: restored as of timestamp {}; start it with --instance-name {}",
        database.display(),
        manifest.timestamp,
        manifest.instance_name
    ))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Copies the database out of a backup and checks everything.
fn unpack(input: File, mut output: File, part: &Path) -> Result<Manifest> {
    let manifest = read(input, &mut output)?;
    output.sync_all().context("cannot write the database")?;
    let facts = store::check_database(part).context("the database in it is damaged")?;
    ensure!(facts.committed.0 == manifest.timestamp, "the database in it is of another moment");
    Ok(manifest)
}

/// Copies the database out of a backup, and checks that the backup is whole.
fn read(input: impl Read, output: &mut impl Write) -> Result<Manifest> {
    let mut input = BufReader::new(input);
    let mut sum = Sha256::new();
    let mut magic = Vec::new();
    input.by_ref().take(MAGIC.len() as u64).read_until(b'\n', &mut magic)?;
    if magic != MAGIC.as_bytes() {
        if magic.starts_with(FAMILY.as_bytes()) && magic.len() == MAGIC.len() {
            bail!("it was made by a newer program");
        }
        bail!("it is no backup, or not a whole one");
    }
    sum.update(&magic);
    let mut line = Vec::new();
    input.by_ref().take(MANIFEST_BYTES_MAX).read_until(b'\n', &mut line)?;
    sum.update(&line);
    let manifest: Manifest =
        serde_json::from_slice(&line).context("its manifest is damaged or truncated")?;
    ensure!(
        manifest.schema <= SCHEMA_VERSION,
        "it was made by a newer program, {}: its schema is {}, this one knows up to {SCHEMA_VERSION}",
        manifest.version,
        manifest.schema
    );
    copy_out(&mut input, output, manifest.database_bytes, &mut sum)?;
    let mut end = Vec::new();
    input.take(SUM_BYTES as u64 + 1).read_to_end(&mut end)?;
    ensure!(end.len() >= SUM_BYTES, "it is truncated: its checksum is missing");
    ensure!(
        end.len() == SUM_BYTES && end[..] == sum.finalize()[..],
        "it is damaged: its checksum is wrong"
    );
    Ok(manifest)
}

fn copy_out(
    input: &mut impl Read,
    output: &mut impl Write,
    bytes: u64,
    sum: &mut Sha256,
) -> Result<()> {
    let mut step = vec![0; STEP_BYTES];
    let mut left = bytes;
    while left > 0 {
        let wanted = step.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = input.read(&mut step[..wanted])?;
        ensure!(read > 0, "it is truncated: {left} of {bytes} bytes of the database are missing");
        output.write_all(&step[..read]).context("cannot write the database")?;
        sum.update(&step[..read]);
        left -= read as u64;
    }
    Ok(())
}

/// Makes a new name in a folder durable.
fn sync_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot sync {}", folder.display()))
}

//! The data folder: the secret of the instance, tokens and keys made from it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use functions::InstanceSecret;
use server::auth::admin_key::{self, Admin, Holder};
use server::auth::dev_issuer::DevIssuer;

use crate::config::{Data, Deployment, read_secret};
use crate::env;

/// The file that holds the secret, as hex.
const SECRET_FILE: &str = "instance-secret";

/// The secret of a deployment: the one that was set, else the one in its folder, made when there is
/// none.
///
/// Errors: a folder that cannot be made or written; a file that holds no secret.
pub(crate) fn secret(deployment: &Deployment) -> Result<InstanceSecret> {
    if let Some(secret) = known_secret(deployment)? {
        return Ok(secret);
    }
    make_folder(&deployment.data)?;
    make_secret(&deployment.data.folder.join(SECRET_FILE))
}

/// As [`secret`], `None` when there is none.
pub(crate) fn known_secret(deployment: &Deployment) -> Result<Option<InstanceSecret>> {
    if let Some(secret) = &deployment.secret {
        return Ok(Some(secret.clone()));
    }
    let path = deployment.data.folder.join(SECRET_FILE);
    // A folder that is none is said by whoever makes it.
    if path.exists() { read_secret(&path).map(Some) } else { Ok(None) }
}

fn make_folder(data: &Data) -> Result<()> {
    fs::create_dir_all(&data.folder)
        .with_context(|| format!("cannot make data folder {}", data.folder.display()))
}

fn make_secret(path: &Path) -> Result<InstanceSecret> {
    let secret = InstanceSecret::new(env::real().random.seed());
    write_secret(path, &secret)?;
    Ok(secret)
}

fn write_secret(path: &Path, secret: &InstanceSecret) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(secret.to_hex().as_bytes())?;
    file.sync_all()?;
    Ok(())
}

/// Keeps `secret` as the one of the folder, if it has none.
///
/// Errors: as for [`secret`]; another secret is there.
pub(crate) fn keep_secret(folder: &Path, secret: &InstanceSecret) -> Result<()> {
    let path = folder.join(SECRET_FILE);
    if path.exists() {
        if read_secret(&path)?.bytes() == secret.bytes() {
            return Ok(());
        }
        bail!("{} holds another secret", path.display());
    }
    write_secret(&path, secret)
}

/// Prints a token of the development issuer.
pub(crate) fn print_token(deployment: &Deployment, user: &str, ttl: Duration) -> Result<()> {
    make_folder(&deployment.data)?;
    let issuer = DevIssuer::open(&deployment.data.folder)?;
    let now = env::real().clock.now();
    print(&issuer.token(user, ttl, now)?)
}

/// Prints a new admin key.
pub(crate) fn print_admin_key(deployment: &Deployment, is_read_only: bool) -> Result<()> {
    let secret = secret(deployment)?;
    let env = env::real();
    let issued_s = env.clock.now().0 / 1_000_000_000;
    let admin = Admin { holder: Holder::System, issued_s, is_read_only };
    let nonce = *env.random.seed().first_chunk().context("a seed is 32 bytes")?;
    print(&admin_key::issue(&secret, &deployment.name, &admin, nonce))
}

/// Prints a line, for people and for programs that read it.
pub(crate) fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}

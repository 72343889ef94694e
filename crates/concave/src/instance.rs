//! The data folder: the secret of the instance, tokens and keys made from it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use functions::InstanceSecret;
use server::auth::admin_key::{self, Admin, Holder};
use server::auth::dev_issuer::DevIssuer;

use crate::args::{AdminKey, Data, Token};
use crate::env;

/// The file that holds the secret, as hex.
const SECRET_FILE: &str = "instance-secret";

/// The secret of the instance in `data`, made when there is none.
///
/// Errors: a folder that cannot be made or written; a file that is no secret.
pub(crate) fn secret(data: &Data) -> Result<InstanceSecret> {
    make_folder(data)?;
    let path = data.folder.join(SECRET_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => InstanceSecret::from_hex(text.trim())
            .with_context(|| format!("{} does not hold 64 hex digits", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_secret(&path),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn make_folder(data: &Data) -> Result<()> {
    fs::create_dir_all(&data.folder)
        .with_context(|| format!("cannot make data folder {}", data.folder.display()))
}

fn make_secret(path: &Path) -> Result<InstanceSecret> {
    let secret = InstanceSecret::new(env::real().random.seed());
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(secret.to_hex().as_bytes())?;
    file.sync_all()?;
    Ok(secret)
}

/// Prints a token of the development issuer.
pub(crate) fn print_token(options: &Token) -> Result<()> {
    make_folder(&options.data)?;
    let issuer = DevIssuer::open(&options.data.folder)?;
    let now = env::real().clock.now();
    let ttl = Duration::from_secs(options.ttl);
    print(&issuer.token(&options.user, ttl, now)?)
}

/// Prints a new admin key.
pub(crate) fn print_admin_key(options: &AdminKey) -> Result<()> {
    let name = &options.data.instance_name;
    let secret = secret(&options.data)?;
    let env = env::real();
    let issued_s = env.clock.now().0 / 1_000_000_000;
    let admin = Admin { holder: Holder::System, issued_s, is_read_only: false };
    let nonce = *env.random.seed().first_chunk().context("a seed is 32 bytes")?;
    print(&admin_key::issue(&secret, name, &admin, nonce))
}

fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}

//! Tests of the whole: golden scripts, the shape of the workspace, the program under fire.

mod imports;
mod scripts;

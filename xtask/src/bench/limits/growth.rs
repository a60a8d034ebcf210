//! Whether a request costs more when there are many routes: its instructions, which noise does not move. Growth with users is
//! a matter of caches more than of instructions; `cargo xtask bench` measures it (`W6-users`, `W6-active`).

use super::{Measured, Options};
use crate::bench::figure::{Bar, Figure};
use crate::bench::instructions;
use crate::bench::own::Portcullis;
use crate::tools;

pub(super) fn run(options: &Options) -> Result<Measured, String> {
    tools::ensure(tools::FOR_TESTS)?;
    let one = Portcullis::new(options.binary()?);
    let few = instructions::count(&one)?;
    let many = instructions::count(&Portcullis { routes: 1_000, ..one })?;
    let figure = |what, unit, bar, value| Figure { what, unit, bar, values: vec![value] };
    let figures = vec![
        figure("instructions of a request under full defence (W2), one route", "", Bar::None, few),
        figure("a thousand routes", "", Bar::None, many),
        figure("that over one", "×", Bar::AtMost(1.1), many / few),
    ];
    let notes = vec!["Counted once, by callgrind. Growth with users: W6 of the main bench.".to_owned()];
    Ok(Measured { figures, notes })
}

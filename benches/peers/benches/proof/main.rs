//! Making an ES256 proof: `shipbound` and other crates, in multiples of the signature alone.

mod peers;

use shipbound_benches_peers::harness::{Case, Options, interleave};
use shipbound_benches_peers::inputs::Key;
use shipbound_benches_peers::report::Report;

fn main() {
    let options = Options::from_args();
    if !options.wants("es256") {
        return;
    }
    let key = Key::generate();
    let signing_input = key.signing_input();
    let mut cases = vec![Case::new("floor", || key.sign(&signing_input))];
    cases.extend(peers::all(&key));

    let measured = interleave(&options, cases);
    let rows: Vec<(&str, &str)> = measured.ids().map(|id| (id, id)).collect();
    Report::new("proof", &options).table("es256", &measured, &rows);
}

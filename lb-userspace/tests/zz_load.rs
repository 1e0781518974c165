//! Loads.
use lb_userspace::datapath::{Datapath, Sizes};
use lb_userspace::model::Limits;
#[test]
fn loads() {
    let t = std::time::Instant::now();
    match Datapath::load(&Sizes::new(&Limits::default(), 42)) {
        Ok(mut d) => { println!("{:?}", d.program().unwrap().info().unwrap().verified_instruction_count()); println!("{:?} jited {}", d, d.program().unwrap().info().unwrap().size_jitted()); }
        Err(e) => { let mut s = e.to_string(); let mut n = std::error::Error::source(&e); while let Some(x) = n { s += &format!(": {x}"); n = x.source(); } println!("{}", &s[s.len().saturating_sub(6000)..]); panic!() }
    }
    println!("{:?}", t.elapsed());
}

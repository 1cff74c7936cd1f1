//! What each command does: turns arguments into a call of the module that does the work, and prints its result.

use crate::{
    cli::{
        ApplianceArgs, ControlArgs, CoverageArgs, ExplainArgs, JoinTokenArgs, PackArgs, PlanCommand,
        PublishArgs, PutSiteArgs, TokenArgs, UnpublishArgs, VerifyArgs, id_from,
    },
    client::Client,
    coverage, explain, fleet,
    pack::{self, Input, Length, PackRequest, PackedTitle},
    profiles,
    progress::Progress,
    publish,
    table::Table,
    verify,
};
use anyhow::Context;
use cdn_types::{
    FillWindow, PlanNumber,
    api::v1::{NewJoinToken, NewToken, Site},
    profile::HardwareProfile,
    time::Timestamp,
};
use std::process::ExitCode;

/// `pack`.
pub async fn pack(args: PackArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.inputs.len() == 1 || (args.id.is_none() && args.name.is_none()),
        "--id and --name name one title: give one FILE"
    );
    for text in &args.inputs {
        let request = pack_request(&args, text)?;
        let progress = Progress::new(format!("packing {}", request.id));
        let title = pack::pack(&request, &progress).await?;
        progress.finish();
        print_packed(&title);
    }
    Ok(())
}

fn pack_request(args: &PackArgs, text: &str) -> anyhow::Result<PackRequest> {
    let input = Input::parse(text);
    let id = match &args.id {
        Some(id) => id.clone(),
        None => id_from(&input.stem())?,
    };
    let length = match (args.times, args.min_seconds) {
        (Some(n), _) => Length::Times(n),
        (None, Some(s)) => Length::AtLeast(s),
        (None, None) => Length::AsIs,
    };
    Ok(PackRequest {
        name: args.name.clone().unwrap_or_else(|| input.stem()),
        input,
        id,
        out: args.out.clone(),
        layout: args.segments,
        segment_seconds: args.segment_seconds,
        overwrite: args.overwrite,
        length,
        burn: args.burn.clone(),
        silent_audio: args.silent_audio,
        preset: args.preset.clone(),
        threads: args.threads,
    })
}

fn print_packed(title: &PackedTitle) {
    for warning in &title.warnings {
        eprintln!("warning: {warning}");
    }
    let m = &title.manifest;
    let rungs: Vec<_> = m.renditions.iter().map(|r| r.id.as_str()).collect();
    println!(
        "{}: {:.1} s, {}, {} objects, {}, version {}",
        title.dir.display(),
        m.duration_ms as f64 / 1000.0,
        rungs.join(" "),
        m.objects.len(),
        m.size(),
        m.version()
    );
}

fn client(args: &ControlArgs) -> anyhow::Result<Client> {
    let token = match &args.token_file {
        None => args.token.clone(),
        Some(file) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("token file {}", file.display()))?;
            let token = text.trim();
            anyhow::ensure!(!token.is_empty(), "token file {} is empty", file.display());
            Some(token.to_owned())
        }
    };
    Ok(Client::new(&args.control, token)?)
}

/// `publish`.
pub async fn publish(args: PublishArgs) -> anyhow::Result<()> {
    let client = client(&args.control)?;
    for dir in &args.titles {
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
        let progress = Progress::new(format!("publishing {name}"));
        let done = publish::publish(dir, &client, args.origin.as_deref(), &progress).await?;
        progress.finish();
        let s = done.summary;
        println!(
            "{}: version {}, {}, {} objects stored, {} there already",
            s.id, s.version, s.size, done.stored, done.skipped
        );
    }
    Ok(())
}

/// `unpublish`.
pub async fn unpublish(args: UnpublishArgs) -> anyhow::Result<()> {
    let client = client(&args.control)?;
    for id in &args.titles {
        let removed = publish::unpublish(id, &client, args.origin.as_deref(), args.keep_objects).await?;
        println!("{id}: no longer registered, {removed} files removed from the origin store");
    }
    eprintln!("appliances drop what they hold of it when the next plan is active");
    Ok(())
}

/// `status`.
pub async fn status(control: &ControlArgs) -> anyhow::Result<()> {
    print!("{}", fleet::status(&client(control)?.overview().await?));
    Ok(())
}

/// `site list`.
pub async fn sites(control: &ControlArgs) -> anyhow::Result<()> {
    print!("{}", fleet::sites(&client(control)?.sites().await?));
    Ok(())
}

/// `site put`.
pub async fn put_site(args: PutSiteArgs) -> anyhow::Result<()> {
    let window = match (&args.window, &args.time_zone) {
        (Some(window), Some(zone)) => {
            let (start, end) = window
                .split_once('-')
                .context("--window must be like 02:00-06:00")?;
            FillWindow::new(start, end, zone)?
        }
        _ => FillWindow::always(),
    };
    let site = Site {
        id: args.id,
        region: args.region,
        prefixes: args.prefixes,
        window,
    };
    let site = client(&args.control)?.put_site(&site).await?;
    print!("{}", fleet::sites(&[site]));
    Ok(())
}

/// `site coverage`: prints the sites that change.
pub async fn cover_sites(args: &CoverageArgs) -> anyhow::Result<()> {
    let place = || args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", place()))?;
    let file = coverage::parse(&text).with_context(place)?;
    let client = client(&args.control)?;
    let changed = coverage::changed(&file, &client.sites().await?).with_context(place)?;
    if !args.dry_run {
        for site in &changed {
            client.put_site(site).await?;
        }
    }
    match changed.len() {
        0 => println!("every site has these networks already"),
        _ => print!("{}", fleet::sites(&changed)),
    }
    Ok(())
}

/// `join-token`: the token alone on standard output, so that a script can take it.
pub async fn join_token(args: JoinTokenArgs) -> anyhow::Result<()> {
    let wish = NewJoinToken {
        appliance: args.appliance,
        site: args.site,
        valid_seconds: Some(args.valid_hours * 3600),
    };
    let answer = client(&args.control)?.new_join_token(&wish).await?;
    println!("{}", answer.token);
    eprintln!(
        "for {} to join {} once, until {}; put it into the file that its configuration names as join_token_file",
        wish.appliance, wish.site, answer.expires
    );
    Ok(())
}

/// `token`: the token alone on standard output.
pub async fn token(args: TokenArgs) -> anyhow::Result<()> {
    let wish = NewToken {
        role: args.role,
        name: args.name,
    };
    println!("{}", client(&args.control)?.new_token(&wish).await?.token);
    eprintln!("keep it in a file that only its user can read: it is not shown again");
    Ok(())
}

/// `drain` and `undrain`.
pub async fn drain(args: &ApplianceArgs, drain: bool) -> anyhow::Result<()> {
    let client = client(&args.control)?;
    let view = if drain {
        client.drain(&args.appliance).await?
    } else {
        client.undrain(&args.appliance).await?
    };
    print!("{}", fleet::appliance(&view, Timestamp::now()));
    let id = &view.id;
    if drain {
        eprintln!(
            "{id} gets no new viewers from now on; those it has are steered away at their next poll, and it goes on \
             filling. `nightfill undrain {id}` takes it back"
        );
    }
    Ok(())
}

/// `plan …`.
pub async fn plan(command: PlanCommand) -> anyhow::Result<()> {
    match command {
        PlanCommand::List(control) => print!("{}", fleet::plans(&client(&control)?.plans().await?)),
        PlanCommand::Show { number, all, control } => {
            print!(
                "{}",
                fleet::plan(&client(&control)?.plan(PlanNumber(number)).await?, all)
            );
        }
        PlanCommand::Activate { number, control } => {
            let summary = client(&control)?.activate_plan(PlanNumber(number)).await?;
            print!("{}", fleet::plans(&[summary]));
        }
    }
    Ok(())
}

/// `explain`.
pub async fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let answer = explain::ask(&args.steering, args.client, args.asset.as_str()).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", explain::draw(&answer));
    }
    Ok(())
}

/// `verify`.
pub async fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let objects = args.root.join("objects");
    anyhow::ensure!(
        objects.is_dir(),
        "{} is not a folder: --root must be the appliance's root",
        objects.display()
    );
    let answer = client(&args.control)?.plan_part(&args.appliance, 0, None).await?;
    let part = answer
        .and_then(|plan| plan.value.part)
        .with_context(|| format!("the active plan has no part for {}", args.appliance))?;
    let found = verify::planned_objects(&args.root, &part)?;
    let mut table = Table::new(["digest", ">size", "path", "found"]);
    for o in &found {
        let fault = if o.fault.is_empty() { "ok" } else { &o.fault };
        table.row([
            o.digest.short(),
            o.size.to_string(),
            o.path.clone(),
            fault.to_owned(),
        ]);
    }
    print!("{table}");
    let wrong = found.iter().filter(|o| !o.fault.is_empty()).count();
    println!(
        "{} planned objects, {wrong} of them missing or wrong",
        found.len()
    );
    Ok(if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `profiles`.
pub fn profiles(name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else {
        print!("{}", profiles::list());
        return Ok(());
    };
    let text = profiles::show(name).with_context(|| {
        let names: Vec<_> = HardwareProfile::names().collect();
        format!("there is no profile `{name}`; there are {}", names.join(", "))
    })?;
    print!("{text}");
    Ok(())
}

//! Pictures of the console for its documentation.

use std::path::Path;

use super::examples::views;
use super::{Console, bounded};

/// Pictures: the view, the width and height of the window, and the color scheme.
const PICTURES: [(&str, u32, u32, &str); 7] = [
    ("overview", 1280, 860, "light"),
    ("overview", 1280, 860, "dark"),
    ("agent", 1280, 900, "light"),
    ("delegation", 1280, 860, "light"),
    ("delegation", 1280, 860, "dark"),
    ("agents", 360, 740, "light"),
    ("audit", 360, 740, "dark"),
];
/// The most bytes of a picture.
const MOST_BYTES: usize = 150_000;

#[tokio::test]
async fn each_picture_shows_its_view() {
    bounded(async {
        let console = Console::signed_in().await;
        let views = views(&console).await;
        for (name, width, height, scheme) in PICTURES {
            console.browser.emulate(width, height, scheme).await;
            console.show("#/nothing", "There is nothing here").await;
            let view = views.iter().find(|(known, ..)| *known == name).expect("a view");
            console.visit(view).await;
            // Addresses of agents are looked up after their IDs are shown.
            console.browser.gone("//table//a[not(ancestor::td[@data-label = 'Resource'])]/code").await;
            let picture = console.browser.screenshot().await;
            assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"), "{name} is no PNG");
            assert!((10_000..MOST_BYTES).contains(&picture.len()), "{name} has {} bytes", picture.len());
            if std::env::var_os("UPDATE_SCREENSHOT").is_some() {
                let size = if width < 640 { "narrow" } else { "wide" };
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
                let file = folder.join(format!("console-{name}-{size}-{scheme}.png"));
                std::fs::write(file, picture).expect("the picture can be written");
            }
        }
        console.close(&[]).await;
    })
    .await;
}

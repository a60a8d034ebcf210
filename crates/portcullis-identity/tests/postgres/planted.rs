//! What another user of the same database can put in our way.

use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::flows::house::*;
use crate::{keep_url, server};

/// It fits our calls better than the server's own, which takes a `bigint`: whoever looks into `public` runs it.
const PLANTED: &str = "CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE plpgsql \
                       AS 'BEGIN RAISE EXCEPTION ''planted''; END'";

#[tokio::test]
async fn a_function_that_somebody_planted_in_public_stands_in_for_none_of_ours() {
    if !server::is_installed() {
        return;
    }
    let cluster = server::Cluster::start();
    let url = cluster.database();
    let mut other = PgConnection::connect(&url).await.unwrap();
    other.execute(PLANTED).await.unwrap();
    let fooled = other.execute("SELECT hashtextextended('anything', 0)").await.unwrap_err().to_string();
    assert!(fooled.contains("planted"), "it would be run where anybody looks for it: {fooled}");

    let folder = tempfile::tempdir().unwrap();
    keep_url(&folder, &url);
    let house = House::open(folder, |_| ()).await.expect("migrations call what the server brought along");
    house.create("ann@example.com").await;
    house.register("bob@example.com", PASSWORD).await.unwrap();
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    house.refresh(&tokens).await.unwrap();
}

// Kibana keeps a page's state behind "#", which no server sees: ask for it as a path.
function follow() {
  if (location.hash.startsWith("#/") && location.hash.length > 2)
    location.replace(location.pathname.replace(/\/$/, "") + location.hash.slice(1));
}
addEventListener("hashchange", follow);
follow();

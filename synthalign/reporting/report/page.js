"use strict";

// -- light and dark: the system's choice until the button is pressed ---------------------------------------------------
{
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const kept = (value) => {
    try { // a page opened from disk may have no storage
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch { return null; }
  };
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  const before = kept();
  if (before === "light" || before === "dark") root.dataset.theme = before;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    kept(root.dataset.theme);
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
}

// -- tables: a click on a heading sorts by it, another turns the order around ------------------------------------------
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const falls = heading.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.sort;
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if ((a === undefined) !== (b === undefined)) return a === undefined ? 1 : -1; // what is missing comes last
        const order = a === undefined
          ? one.cells[column].textContent.localeCompare(other.cells[column].textContent, "en", { numeric: true })
          : a - b;
        return falls ? -order : order;
      });
      body.append(...rows);
    });
  });
}

// -- paper has no folds; the settings, which are long, stay away from it -----------------------------------------------
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:has(table)")) fold.open = true;
});

// -- answers side by side; texts of models are only ever written as text -----------------------------------------------
{
  const browser = document.getElementById("browser");
  const data = JSON.parse(document.getElementById("data").textContent);
  if (browser) {
    const STEP = 12;
    const SCORES = 3; // an answer is [text, tokens, how it ended, score of each judge …]
    const search = document.getElementById("search");
    const order = document.getElementById("order");
    const cards = document.getElementById("cards");
    const more = document.getElementById("more");
    let shown = STEP;

    const element = (tag, text) => {
      const made = document.createElement(tag);
      if (text !== undefined) made.textContent = text;
      return made;
    };
    const boxes = data.policies.map((policy) => {
      const label = element("label");
      const box = element("input");
      box.type = "checkbox";
      box.checked = true;
      label.append(box, " " + policy);
      document.getElementById("policies").append(label);
      return box;
    });
    order.append(new Option("as drawn", ""));
    data.judges.forEach((judge, place) => order.append(new Option("widest gap in " + judge, place)));

    // Short answers all fit beside each other; long ones need room.
    const texts = data.questions.slice(0, 50).flatMap((question) => question.answers.flat().map((answer) => answer[0]));
    const mean = texts.reduce((sum, text) => sum + text.length, 0) / (texts.length || 1);
    cards.style.setProperty("--column", mean < 200 ? "9.4rem" : "20rem");

    const chosen = () => data.policies.map((_, place) => place).filter((place) => boxes[place].checked);
    const gap = (question, judge) => {
      const scores = chosen().flatMap((policy) => question.answers[policy].map((answer) => answer[SCORES + judge]))
        .filter((score) => score !== null);
      return scores.length ? Math.max(...scores) - Math.min(...scores) : -1;
    };
    const marked = (tag, text, words) => {
      const made = element(tag);
      const lower = text.toLowerCase();
      let at = 0;
      while (words.length && lower.length === text.length) {
        const hits = words.map((word) => [lower.indexOf(word, at), word.length]).filter(([place]) => place >= 0);
        if (!hits.length) break;
        const [place, length] = hits.reduce((one, other) => (other[0] < one[0] ? other : one));
        made.append(text.slice(at, place), element("mark", text.slice(place, place + length)));
        at = place + length;
      }
      made.append(text.slice(at));
      return made;
    };
    const card = (question, words) => {
      const made = element("article");
      made.className = "card";
      const sides = element("div");
      sides.className = "sides";
      for (const policy of chosen()) {
        const side = element("div");
        side.append(element("h4", data.policies[policy]));
        for (const answer of question.answers[policy]) {
          const scores = data.judges.map((judge, place) => [judge, answer[SCORES + place]])
            .filter(([, score]) => score !== null).map(([judge, score]) => judge + " " + score.toFixed(2));
          const cut = answer[2] === "length" ? ["cut off"] : [];
          side.append(marked("blockquote", answer[0], words),
            element("small", [answer[1] + " tokens", ...cut, ...scores].join(" · ")));
        }
        sides.append(side);
      }
      made.append(marked("h3", question.text, words), sides);
      return made;
    };
    const draw = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const policies = chosen();
      const has = (question) => {
        const text = [question.text, ...policies.flatMap((policy) => question.answers[policy].map((one) => one[0]))]
          .join("\n").toLowerCase();
        return words.every((word) => text.includes(word));
      };
      let found = data.questions.filter(has);
      if (order.value !== "") {
        const judge = Number(order.value);
        found = found.map((question) => [gap(question, judge), question]).sort(([a], [b]) => b - a).map(([, one]) => one);
      }
      document.getElementById("found").textContent =
        found.length + " of " + data.questions.length + " questions" + (words.length ? " have these words" : "");
      cards.replaceChildren(...found.slice(0, shown).map((question) => card(question, words)));
      more.hidden = found.length <= shown;
    };
    const again = () => { shown = STEP; draw(); };
    search.addEventListener("input", again);
    order.addEventListener("change", again);
    for (const box of boxes) box.addEventListener("change", again);
    more.addEventListener("click", () => { shown += STEP; draw(); });
    browser.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    browser.hidden = false;
    draw();
  }
}

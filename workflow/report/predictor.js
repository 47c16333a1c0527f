// The advice, pair by pair: a point for each labelled pair, at the gain that was expected and at the one that came.
"use strict";

const SIZE = 400;
const MISSES = 10;

// `atlas`: data, and what is known of a pair (atlas.js); `state`: the pair that is chosen, and what filters the others.
function predictorOf(atlas, state) {
  const { data, name, link, came, expected, matches, choose, all } = atlas;
  const at = (value) => ((Math.min(Math.max(value, -1), 1) + 1) / 2) * SIZE;
  const judged = all.filter((i) => known(expected(i)) && known(came(i))).sort((a, b) => expected(a) - expected(b));
  const missed = (i) => Math.abs(expected(i) - came(i));
  const wrong = (i) => Math.abs(came(i)) > data.smallest && came(i) > 0 !== expected(i) > 0;
  const entry = (i) =>
    `<a href="${link(i)}">${escape(name(i))}</a>: expected ${signed(expected(i))}, measured ${signed(came(i))}`;
  function draw() {
    const points = judged.filter(matches);
    find("atlas-predictor").hidden = !judged.length;
    if (!judged.length) return;
    const dot = (i) => `M${at(expected(i)).toFixed(1)} ${(SIZE - at(came(i))).toFixed(1)}h0`;
    const path = (list, cls) => `<path class="${cls}" d="${list.map(dot).join("")}"/>`;
    const ticks = [-1, -0.5, 0, 0.5, 1]
      .map(
        (v) =>
          `<text x="${at(v)}" y="${SIZE + 18}" text-anchor="middle">${v}</text>` +
          `<text x="-8" y="${SIZE - at(v) + 5}" text-anchor="end">${v}</text>`,
      )
      .join("");
    find("atlas-points").innerHTML =
      `<line x1="0" y1="${SIZE}" x2="${SIZE}" y2="0"/><line x1="0" y1="${SIZE / 2}" x2="${SIZE}" y2="${SIZE / 2}"/>` +
      `<line x1="${SIZE / 2}" y1="0" x2="${SIZE / 2}" y2="${SIZE}"/>` +
      path(
        points.filter((i) => !wrong(i)),
        "right",
      ) +
      path(points.filter(wrong), "wrong") +
      `<circle class="ring" r="8"/>` +
      ticks +
      `<text x="${SIZE / 2}" y="${SIZE + 38}" text-anchor="middle">gain expected without labels</text>` +
      `<text transform="translate(-40 ${SIZE / 2}) rotate(-90)" text-anchor="middle">gain measured</text>`;
    const failures = points.filter(wrong).length;
    find("atlas-verdict").textContent =
      `${points.length} pairs with labels; the sign is wrong in ${failures} of them (squares, where the gain exceeds ` +
      `${data.smallest} in size). On the diagonal the expectation came true.`;
    const worst = [...points].sort((a, b) => missed(b) - missed(a)).slice(0, MISSES);
    find("atlas-misses").innerHTML = worst.map((i) => `<li>${entry(i)}</li>`).join("");
    mark();
  }
  // The point of the pair that is chosen, where it has one.
  function mark() {
    const ring = find("atlas-points").querySelector(".ring");
    const i = state.pair;
    const seen = ring && known(expected(i)) && known(came(i)) && matches(i);
    if (ring) ring.style.visibility = seen ? "visible" : "hidden";
    if (seen) {
      ring.setAttribute("cx", at(expected(i)));
      ring.setAttribute("cy", SIZE - at(came(i)));
    }
    find("atlas-chosen").innerHTML = seen ? `Chosen: ${entry(i)}` : "";
  }

  find("atlas-points").addEventListener("click", (event) => {
    const box = find("atlas-points").getScreenCTM().inverse();
    const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(box);
    const away = (i) => Math.hypot(at(expected(i)) - spot.x, SIZE - at(came(i)) - spot.y);
    const points = judged.filter(matches);
    if (points.length) choose(points.reduce((a, b) => (away(b) < away(a) ? b : a)));
  });
  find("atlas-points").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const points = judged.filter(matches);
    choose(points[Math.min(Math.max(points.indexOf(state.pair) + step, 0), points.length - 1)]);
  });
  return { draw, mark };
}

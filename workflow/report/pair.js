// The pair that is chosen, in HTML: its pictures, what each method made of it, the advice, latents and distances.
"use strict";

const SCALE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const STATES = ["source", "target, before adaptation", "target, after adaptation"];

// `atlas`: data, and what is known of pair `i` (atlas.js).
function describePair(atlas, i) {
  const { data, all, name, shiftName, link, gain, after } = atlas;
  const { pairs, iou, advice, shifts, methods, main } = data;
  const tile = (place, alt, caption) =>
    known(place)
      ? `<figure><img alt="${escape(alt)}" src="data:image/png;base64,${data.pool[place]}">` +
        `<figcaption>${caption}</figcaption></figure>`
      : "";
  function tiles(shown) {
    const parts = [
      tile(shown.image, `First test image of ${name(i)}`, "image"),
      tile(shown.mask, "Its true mask", "true mask"),
    ];
    for (const method of [KEPT, ...methods])
      parts.push(
        tile(
          shown.predicted[method],
          `Mask predicted ${method === KEPT ? "by the network as it is" : `with ${method}`}`,
          `${words(method)}<br>IoU ${score(after(i, method))}`,
        ),
      );
    return `<div class="tiles">${parts.join("")}</div>`;
  }
  function byMethod() {
    const tried = [KEPT, ...methods].filter((m) => known(after(i, m)) || known(advice.expected?.[m]?.[i]));
    const rows = tried.map((m) => {
      const expectation = score(advice.expected?.[m]?.[i]);
      return [words(m), score(after(i, m)), m === KEPT ? "" : signed(gain(i, m)), expectation];
    });
    const yardsticks = [
      ["source at home", pairs.own_iou],
      ["trained on the target", pairs.iou_target_trained],
      ["pixel ceiling", pairs.pixel_ceiling],
      ["closed form, refreshed", pairs.theory_after],
    ].filter(([, column]) => known(column?.[i]));
    const others = yardsticks.map(([label, column]) => [label, score(column[i]), "", ""]);
    return table(["method", "IoU", "gain", "expected IoU"], [...rows, ...others]);
  }
  // What a card says is put together of numbers and of words that cards share (cards.py).
  function say(field) {
    const tokens = advice.said[field][i];
    return escape(tokens.map((token) => (typeof token === "number" ? advice.words[token] : token)).join(""));
  }
  function card() {
    if (!advice.decision?.[i]) return "";
    const [caution, because, images] = ["caution", "because", "images"].map(say);
    return (
      `<div class="card ${escape(advice.decision[i])}">Advice, without labels of the target: ` +
      `<strong>${say("todo")}</strong> ${say("expected")}` +
      (caution && `<br><em>${caution}</em>`) +
      `<br><small>${[because, images].filter(Boolean).join("<br>")}</small></div>`
    );
  }
  function histogram([dimension, moved, low, high, ...texts]) {
    const [width, height] = [150, 54];
    const outline = (text) => {
      const heights = [...text].map((c) => height - (SCALE.indexOf(c) / (SCALE.length - 1)) * height);
      const step = width / text.length;
      return heights.map((y, k) => `${k * step},${y} ${(k + 1) * step},${y}`).join(" ");
    };
    const lines = texts
      .map((text, k) =>
        k
          ? `<polyline class="state${k}" points="${outline(text)}"/>`
          : `<polygon class="state0" points="0,${height} ${outline(text)} ${width},${height}"/>`,
      )
      .join("");
    const alt =
      `Dimension ${dimension}: histograms of source and target from ${low} to ${high}; ` +
      `its mean moved by ${moved} deviations of the source`;
    return (
      `<figure><svg role="img" aria-label="${alt}" viewBox="-1 -1 152 56">${lines}</svg>` +
      `<figcaption>dimension ${dimension}, moved ${moved} sd<br>${low} to ${high}</figcaption></figure>`
    );
  }
  function latents(shown) {
    const legend = STATES.slice(0, shown.latents[0]?.[1][0]?.length - 4)
      .map((text, k) => `<span class="key state${k}">${text}</span>`)
      .join(" ");
    return (
      `<h4>Latents: the dimensions that moved most</h4><p class="legend">${legend}</p>` +
      shown.latents
        .map(
          ([layer, dimensions]) =>
            `<div class="tiles wide"><strong>${layer}</strong>${dimensions.map(histogram).join("")}</div>`,
        )
        .join("")
    );
  }
  function distances() {
    const { columns, values, nulls } = data.distances;
    const rows = new Map();
    columns.forEach(([layer, when, distance], k) => {
      const row = rows.get(`${layer} ${distance}`) ?? { title: `${layer}: ${words(distance)}` };
      row[when] = values[k][i];
      row.null = nulls[k][pairs.source[i]];
      rows.set(`${layer} ${distance}`, row);
    });
    if (!rows.size) return "";
    const shown = (value, limit) =>
      known(value) && known(limit) && value <= limit ? `<em>${value}</em>` : (value ?? "–");
    const cells = [...rows.values()].map((r) => [
      r.title,
      shown(r.before, r.null),
      shown(r.after, r.null),
      r.null ?? "–",
    ]);
    return (
      `<h4>Distances in latent space</h4>${table(["distance", "before", "after", "null"], cells)}` +
      `<p class="legend"><em>Slanted</em>: no larger than its null.</p>`
    );
  }
  function siblings() {
    const same = all.filter(
      (k) => k !== i && pairs.source[k] === pairs.source[i] && pairs.target[k] === pairs.target[i],
    );
    const links = same
      .map((k) => `<a href="${link(k)}">${escape(shiftName(pairs.shift[k]))} ${signed(gain(k))}</a>`)
      .join(" ");
    return links && `<h4>The same pair under other transforms: gain</h4><p class="links">${links}</p>`;
  }
  function outcome() {
    if (!known(iou[KEPT][i])) return "The target has no masks: nothing was scored, and what is said of it is expected.";
    const change = gain(i);
    const verb = !known(change)
      ? ""
      : Math.abs(change) <= data.smallest
        ? "and refreshing changes little"
        : change > 0
          ? "and refreshing helps"
          : "and refreshing harms";
    return `IoU ${score(iou[KEPT][i])} as it is${verb && `, ${verb}: ${score(after(i, main))}`}.`;
  }

  const shown = data.shown[i];
  const seeds =
    pairs.seeds[i] > 1
      ? ` Numbers are means over ${pairs.seeds[i]} seeds; pictures, histograms and advice are of the first.`
      : "";
  const [, level, unit] = shifts[pairs.shift[i]];
  const about = [`What it changes: ${data.conditions[pairs.condition[i]]}`, level ? `level in ${unit}` : ""];
  return (
    `<h3>${escape(name(i))}</h3><p>${outcome()} ${escape(about.filter(Boolean).join("; "))}.${seeds} ` +
    `<a href="${link(i)}">Link to this pair</a></p>` +
    (shown ? tiles(shown) : "<p>No pictures of this pair are kept in this file.</p>") +
    card() +
    byMethod() +
    (shown ? latents(shown) : "") +
    distances() +
    siblings()
  );
}

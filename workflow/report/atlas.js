// The atlas: a map of pairs to click or walk through, the pair that is chosen, and a point for each pair of the advice.
// Everything it shows is in #atlas-data (workflow/shiftgain/report/atlas.py); it asks for nothing from outside.
"use strict";

const KEPT = "kept";
const VIRIDIS = [
  [68, 1, 84],
  [71, 45, 123],
  [59, 82, 139],
  [44, 114, 142],
  [33, 145, 140],
  [40, 174, 128],
  [94, 201, 98],
  [173, 220, 48],
  [253, 231, 37],
];
const GAIN = [
  [166, 60, 0],
  [225, 140, 80],
  [247, 247, 247],
  [90, 150, 205],
  [0, 75, 145],
];
// A map of more cells than this has small ones, without numbers.
const NUMBERED = 900;

const find = (id) => document.getElementById(id);
const escape = (text) =>
  String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const words = (name) => escape(name.replaceAll("_", " "));
const known = (value) => value !== null && value !== undefined;
const score = (value) => (known(value) ? value.toFixed(2) : "–");
const signed = (value) =>
  known(value) ? (Math.abs(value) < 0.005 ? "0.00" : (value > 0 ? "+" : "−") + Math.abs(value).toFixed(2)) : "–";

// A table, its rows' first cells their headers; all HTML.
const head = (text) => `<th scope="row">${text}</th>`;
const line = ([first, ...rest]) => `<tr>${head(first)}${rest.map((text) => `<td>${text}</td>`).join("")}</tr>`;
const table = (columns, rows) =>
  `<table><thead><tr>${columns.map((text) => `<th scope="col">${text}</th>`).join("")}</tr></thead>` +
  `<tbody>${rows.map(line).join("")}</tbody></table>`;

function start() {
  const data = JSON.parse(find("atlas-data").textContent);
  const { pairs, iou, advice, shifts, methods, main } = data;
  const count = pairs.source.length;
  const all = [...Array(count).keys()];
  const state = { pair: null, show: "gain", method: main, shift: 0, condition: "" };

  // What a pair is called, and what is known of it.
  const shiftName = (k) =>
    shifts[k][0] === "identity" ? "no transform" : `${shifts[k][0].replaceAll("_", " ")} ${shifts[k][1]}`;
  const name = (i) =>
    `${data.sources[pairs.source[i]]} → ${data.targets[pairs.target[i]]}` +
    (shifts[pairs.shift[i]][1] ? `, ${shiftName(pairs.shift[i])}` : "");
  const key = (i) =>
    [data.sources[pairs.source[i]], data.targets[pairs.target[i]], ...shifts[pairs.shift[i]].slice(0, 2)].join(" ");
  const byKey = new Map(all.map((i) => [key(i), i]));
  const after = (i, method) => iou[method]?.[i];
  const gain = (i, method = main) =>
    known(after(i, method)) && known(iou[KEPT][i]) ? after(i, method) - iou[KEPT][i] : null;
  // Of the action that the advice is about.
  const expected = (i) => advice.gain?.[i];
  const came = (i) => gain(i, advice.action?.[i] || main);
  const best = (i) => Math.max(...[KEPT, ...methods].map((m) => after(i, m) ?? -1));
  const QUANTITIES = {
    gain: { label: "gain with the method", value: (i) => gain(i, state.method), signed: true },
    after: { label: "IoU with the method", value: (i) => after(i, state.method) },
    before: { label: "IoU as it is", value: (i) => iou[KEPT][i] },
    best: { label: "IoU with the best method, by labels", value: (i) => (known(iou[KEPT][i]) ? best(i) : null) },
    expected: { label: "gain expected without labels", value: expected, signed: true },
    miss: {
      label: "gain expected, minus measured",
      value: (i) => (known(expected(i)) && known(came(i)) ? expected(i) - came(i) : null),
      signed: true,
    },
  };
  const matches = (i) => !state.condition || data.conditions[pairs.condition[i]] === state.condition;
  const poor = (i) =>
    known(after(i, state.method)) && known(pairs.own_iou[i]) && after(i, state.method) < pairs.own_iou[i] - data.poor;

  // Colours: what is written on one is black or white, whichever has the higher contrast.
  function colour(value, ramp) {
    const place = Math.min(Math.max(value, 0), 1) * (ramp.length - 1);
    const low = Math.min(Math.floor(place), ramp.length - 2);
    return ramp[low].map((c, k) => Math.round(c + (place - low) * (ramp[low + 1][k] - c)));
  }
  function ink([r, g, b]) {
    const linear = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000" : "#fff";
  }
  const short = (value, quantity) => (quantity.signed ? signed(value) : score(value)).replace("0.", ".");

  // The map: a panel for each source over the means of its targets, where these make a grid; else source x target.
  function panels() {
    const chosen = [];
    for (let i = 0; i < count; i += 1) if (pairs.shift[i] === state.shift) chosen.push(i);
    const inGrid = (i) => data.means[data.targets[pairs.target[i]]];
    const gridded = chosen.filter(inGrid);
    const axis = (place, list) => [...new Set(list.map((i) => inGrid(i)[place]))].sort((a, b) => a - b);
    const [across, down] = [axis(0, gridded), axis(1, gridded).reverse()];
    const perSource = new Set(gridded.map((i) => pairs.source[i])).size;
    const isGrid = gridded.length / Math.max(1, perSource) > Math.max(2, 0.2 * across.length * down.length);
    const made = [];
    if (isGrid) {
      for (const source of new Set(gridded.map((i) => pairs.source[i]))) {
        const cells = new Map(
          gridded.filter((i) => pairs.source[i] === source).map((i) => [`${inGrid(i)[0]} ${inGrid(i)[1]}`, i]),
        );
        const rows = down.map((b) => [b, across.map((m) => cells.get(`${m} ${b}`))]);
        const title = `source ${data.sources[source]}`;
        made.push({ title, corner: "background ↓ mask →", columns: across, rows });
      }
    }
    const others = chosen.filter((i) => !(isGrid && inGrid(i)));
    if (others.length) {
      const columns = [...new Set(others.map((i) => pairs.target[i]))];
      const cells = new Map(others.map((i) => [pairs.source[i] * data.targets.length + pairs.target[i], i]));
      const rows = [...new Set(others.map((i) => pairs.source[i]))].map((s) => [
        data.sources[s],
        columns.map((t) => cells.get(s * data.targets.length + t)),
      ]);
      made.push({
        title: "source × target",
        corner: "source ↓ target →",
        columns: columns.map((t) => data.targets[t]),
        rows,
        named: true,
      });
    }
    return made;
  }
  function drawMap() {
    const quantity = QUANTITIES[state.show];
    const made = panels();
    const small = made.reduce((sum, panel) => sum + panel.rows.length * panel.columns.length, 0) > NUMBERED;
    const seen = [];
    for (const panel of made)
      for (const [, cells] of panel.rows)
        for (const i of cells) if (i !== undefined && known(quantity.value(i))) seen.push(Math.abs(quantity.value(i)));
    const limit = Math.max(0.1, ...(seen.length < 10000 ? seen : [1]));
    const cell = (i) => {
      if (i === undefined || !matches(i)) return "<td></td>";
      const value = quantity.value(i);
      const rgb = known(value)
        ? colour(quantity.signed ? 0.5 + value / limit / 2 : value, quantity.signed ? GAIN : VIRIDIS)
        : [225, 225, 225];
      const mark = (poor(i) ? " poor" : "") + (pairs.home[i] ? " home" : "");
      const text = known(value) ? short(value, quantity) : "?";
      const marks = (poor(i) ? "; still poor" : "") + (pairs.home[i] ? "; the source itself" : "");
      const label = escape(`${name(i)}: ${quantity.label} ${known(value) ? text : "not known, no labels"}${marks}`);
      return (
        `<td role="gridcell" tabindex="-1" data-pair="${i}" aria-label="${label}" title="${label}" class="cell${mark}" ` +
        `style="background-color:rgb(${rgb});color:${ink(rgb)}">${small ? "" : text}</td>`
      );
    };
    find("atlas-map").innerHTML = made
      .map(
        (panel) =>
          `<table role="grid" aria-label="${escape(panel.title)}" class="map${small ? " small" : ""}` +
          `${panel.named ? " named" : ""}"><caption>${escape(panel.title)}</caption>` +
          `<thead><tr><th scope="col" class="corner">${panel.corner}</th>` +
          panel.columns.map((c) => `<th scope="col"><span>${escape(c)}</span></th>`).join("") +
          "</tr></thead><tbody>" +
          panel.rows.map(([title, row]) => `<tr>${head(title)}${row.map(cell).join("")}</tr>`).join("") +
          "</tbody></table>",
      )
      .join("");
    const ramp = quantity.signed ? GAIN : VIRIDIS;
    const ends = quantity.signed ? [signed(-limit), "0", signed(limit)] : ["0", "0.5", "1"];
    find("atlas-scale").innerHTML =
      `<span>${ends[0]}</span><i style="background:linear-gradient(90deg,${ramp.map((c) => `rgb(${c})`)})"></i>` +
      `<span>${ends[2]}</span> ${quantity.label}`;
    for (const table of find("atlas-map").children) table.querySelector("td.cell")?.setAttribute("tabindex", "0");
    const matching = all.filter(matches).length;
    const here = find("atlas-map").querySelectorAll("td.cell").length;
    find("atlas-count").textContent =
      `${here} ${here === 1 ? "pair" : "pairs"} here of ${matching}` + (state.condition ? ` that break ${state.condition}` : "") + ".";
    mark(false);
  }
  function mark(focus) {
    find("atlas-map")
      .querySelectorAll(".chosen")
      .forEach((td) => td.classList.remove("chosen"));
    const td = find("atlas-map").querySelector(`[data-pair="${state.pair}"]`);
    if (!td) return;
    td.closest("table")
      .querySelectorAll('[tabindex="0"]')
      .forEach((other) => other.setAttribute("tabindex", "-1"));
    td.classList.add("chosen");
    td.setAttribute("tabindex", "0");
    if (focus) td.focus();
  }

  function drawPair() {
    find("atlas-pair").innerHTML = describePair(atlas, state.pair);
  }

  // Links: what is chosen stands in the address, by names and not by numbers, so that it can be sent.
  const link = (i) => `#atlas?${new URLSearchParams({ pair: key(i), ...given() })}`;
  const given = () =>
    Object.fromEntries(
      [
        ["show", state.show, "gain"],
        ["method", state.method, main],
        ["condition", state.condition, ""],
      ].filter(([, value, usual]) => value !== usual),
    );
  function readLink() {
    if (!location.hash.startsWith("#atlas?")) return false;
    const asked = new URLSearchParams(location.hash.slice(7));
    state.show = QUANTITIES[asked.get("show")] ? asked.get("show") : "gain";
    state.method = methods.includes(asked.get("method")) ? asked.get("method") : main;
    state.condition = data.conditions.includes(asked.get("condition")) ? asked.get("condition") : "";
    const pair = byKey.get(asked.get("pair")) ?? all.find(matches);
    state.pair = pair;
    state.shift = pairs.shift[pair];
    return true;
  }
  function choose(i, focus = false) {
    state.pair = i;
    history.replaceState(null, "", link(i));
    if (pairs.shift[i] === state.shift) mark(focus);
    else {
      state.shift = pairs.shift[i];
      update();
    }
    drawPair();
    predictor.mark();
  }
  function update() {
    for (const id of ["show", "method", "shift", "condition"]) find(`atlas-${id}`).value = state[id];
    find("atlas-method").disabled = !["gain", "after"].includes(state.show);
    drawMap();
    predictor.draw();
  }

  // Controls.
  const options = (list) =>
    list.map(([value, text]) => `<option value="${escape(value)}">${escape(text)}</option>`).join("");
  const average = (k) => {
    const list = all.filter((i) => pairs.shift[i] === k && known(gain(i)));
    return list.length ? `, mean gain ${signed(list.reduce((sum, i) => sum + gain(i), 0) / list.length)}` : "";
  };
  find("atlas-show").innerHTML = options(
    Object.entries(QUANTITIES)
      .filter(([id]) => !["expected", "miss"].includes(id) || advice.gain)
      .map(([id, q]) => [id, q.label]),
  );
  find("atlas-method").innerHTML = options(methods.map((m) => [m, m.replaceAll("_", " ")]));
  find("atlas-shift").innerHTML = options(shifts.map((_, k) => [k, shiftName(k) + average(k)]));
  find("atlas-condition").innerHTML = options([["", "any"], ...data.conditions.map((c) => [c, c])]);
  for (const id of ["show", "method", "shift", "condition"]) {
    find(`atlas-${id}`).addEventListener("change", ({ target }) => {
      state[id] = id === "shift" ? Number(target.value) : target.value;
      const fits = (i) => matches(i) && pairs.shift[i] === state.shift;
      let pair = state.pair !== null && fits(state.pair) ? state.pair : all.find(fits);
      if (pair === undefined) pair = all.find(matches);
      state.shift = pairs.shift[pair];
      update();
      choose(pair);
    });
  }
  find("atlas-map").addEventListener("click", ({ target }) => {
    const td = target.closest("[data-pair]");
    if (!td) return;
    choose(Number(td.dataset.pair), true);
    // On a narrow screen the pair stands below the map.
    if (find("atlas-pair").getBoundingClientRect().top > innerHeight - 100) find("atlas-pair").scrollIntoView();
  });
  find("atlas-map").addEventListener("focusin", ({ target }) => {
    if (target.dataset.pair && Number(target.dataset.pair) !== state.pair) choose(Number(target.dataset.pair));
  });
  find("atlas-map").addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!step || !event.target.dataset.pair) return;
    event.preventDefault();
    next(event.target, ...step)?.focus();
  });
  // The next cell that has a pair: along the row or column, then through the rest of the map in reading order.
  function next(td, down, right) {
    const rows = td.closest("tbody").rows;
    let [row, column] = [td.parentElement.sectionRowIndex + down, td.cellIndex + right];
    for (; rows[row]?.cells[column]; row += down, column += right)
      if (rows[row].cells[column].dataset.pair) return rows[row].cells[column];
    const cells = [...find("atlas-map").querySelectorAll("td.cell")];
    return cells[cells.indexOf(td) + (down + right)];
  }
  function follow() {
    if (!readLink()) return;
    draw();
    find(location.hash.includes("pair=") ? "atlas-pair" : "atlas").scrollIntoView();
  }
  function draw() {
    update();
    drawPair();
  }
  addEventListener("hashchange", follow);

  // Where no pair is asked for: of those with pictures, without a transform where there are any, the largest gain.
  const untransformed = (i) => Number(shifts[pairs.shift[i]][1] === 0);
  const atlas = { data, all, name, shiftName, link, gain, came, after, expected, matches, choose };
  const predictor = predictorOf(atlas, state);
  const some = Object.keys(data.shown).map(Number);
  state.pair = some.sort((a, b) => untransformed(b) - untransformed(a) || (gain(b) ?? -1) - (gain(a) ?? -1))[0] ?? 0;
  state.shift = pairs.shift[state.pair];
  find("atlas").classList.add("ready");
  draw();
  follow();
}

// The page is painted first.
if (find("atlas-data")) requestAnimationFrame(() => setTimeout(start));

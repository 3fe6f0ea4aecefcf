"use strict";
// Drawing of the ground seen from above, and of curves over time. mipi_pl/evaluation/page.py writes the data.

const [X, Y, HERE, HEALTH, SHIELD, ORDER, TARGET, CARRIES] = [0, 1, 2, 3, 4, 5, 6, 7];
// Smallest maximum of the scale of costs, so that rings and curves do not enlarge negligible costs.
const LEAST_NATS = 0.02;
const PURPLE = "122, 79, 181", AMBER = "217, 138, 31";

/** Match a canvas to the pixels of the screen; return its context, and its width and height in CSS pixels. */
function sharp(canvas) {
  const { width, height } = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return [context, width, height];
}

/** The projection from the world to the canvas: its scale, and a function from a moment to pixels. */
function projection(view, size) {
  const [west, south, side] = view, scale = size / side;
  return { scale, at: (moment) => [(moment[X] - west) * scale, size - (moment[Y] - south) * scale] };
}

function outline(context, corners, x, y, r) {
  context.beginPath();
  if (!corners) { context.arc(x, y, r, 0, 2 * Math.PI); return; }
  const turn = corners % 2 ? 0 : Math.PI / corners;
  for (let k = 0; k < corners; k++) {
    const angle = turn + 2 * Math.PI * k / corners;
    context.lineTo(x + 1.15 * r * Math.sin(angle), y - 1.15 * r * Math.cos(angle));
  }
  context.closePath();
}

function line(context, from, to, style, width) {
  context.strokeStyle = style;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

/** Draw one step of a play. `shows` selects orders, sight and attention; `selected` is the slot of the selected agent. */
function drawMap(canvas, data, play, step, selected, view, shows) {
  const [context, size] = sharp(canvas), { scale, at } = projection(view, size);
  const moments = play.steps[step], [west, south, side] = play.ground, agent = play.agents[selected];
  const last = step >= play.rewards.length, k = play.bodies.findIndex((body) => body.slot === selected);
  context.fillStyle = "#e2e3df";
  context.fillRect(0, 0, size, size);
  const [left, top] = at([west, south + side]);
  context.fillStyle = "#fafaf8";
  context.fillRect(left, top, side * scale, side * scale);
  for (let i = 1; i < 8; i++) {
    const d = i * side * scale / 8;
    line(context, [left + d, top], [left + d, top + side * scale], "#ecede9", 1);
    line(context, [left, top + d], [left + side * scale, top + d], "#ecede9", 1);
  }
  const looking = agent && !last && k >= 0 && moments[k][HERE];
  if (looking && shows.sight && play.sight) {
    context.fillStyle = "rgba(38, 98, 173, 0.07)";
    context.strokeStyle = "rgba(38, 98, 173, 0.35)";
    context.lineWidth = 1;
    context.beginPath();
    context.arc(...at(moments[k]), play.sight * scale, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
  if (shows.orders) drawOrders(context, data, play, moments, at);
  if (looking && shows.attention && agent.attention) {
    agent.attention[step].forEach((weight, j) => {
      if (j !== k && weight > 0.005) line(context, at(moments[k]), at(moments[j]), `rgba(${PURPLE}, ${0.15 + 0.85 * weight})`, 1 + 9 * weight);
    });
  }
  const order = play.bodies.map((_, j) => j).sort((a, b) => moments[a][HERE] - moments[b][HERE] || play.bodies[b].side - play.bodies[a].side);
  for (const j of order) {
    const unseen = looking && shows.sight && !agent.sees[step][j];
    drawBody(context, data, play, j, moments[j], at(moments[j]), scale, unseen);
    const kl = play.agents[play.bodies[j].slot]?.kl;
    if (kl && !last && moments[j][HERE]) drawPrice(context, at(moments[j]), radius(play, j, scale), kl[step] / play.dearest);
  }
  if (k >= 0 && moments[k][HERE]) {
    context.strokeStyle = "#1f2428";
    context.lineWidth = 2;
    outline(context, 0, ...at(moments[k]), radius(play, k, scale) + 5);
    context.stroke();
  }
}

const radius = (play, j, scale) => Math.max(play.bodies[j].r * scale, 6);

function drawOrders(context, data, play, moments, at) {
  play.bodies.forEach((body, j) => {
    const target = play.bodies.findIndex((other) => other.slot === moments[j][TARGET]);
    if (!moments[j][HERE] || target < 0) return;
    context.globalAlpha = 0.45;
    if (moments[j][ORDER] === "heal") context.setLineDash([4, 3]);
    line(context, at(moments[j]), at(moments[target]), data.colours[body.side], 1.5);
    context.setLineDash([]);
    context.globalAlpha = 1;
  });
}

function drawBody(context, data, play, j, moment, [x, y], scale, unseen) {
  const body = play.bodies[j], r = radius(play, j, scale), kind = data.kinds[body.kind];
  if (!moment[HERE]) {
    const d = 0.5 * r;
    line(context, [x - d, y - d], [x + d, y + d], "#b4b8b3", 2);
    line(context, [x - d, y + d], [x + d, y - d], "#b4b8b3", 2);
    return;
  }
  context.globalAlpha = unseen ? 0.35 : 1;
  context.fillStyle = data.colours[body.side];
  outline(context, kind.corners, x, y, r);
  context.fill();
  context.strokeStyle = "#fff";
  context.lineWidth = 1;
  context.stroke();
  context.fillStyle = "#fff";
  context.font = `600 ${Math.max(9, Math.min(r * (body.label.length > 2 ? 0.75 : 1.05), 16))}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(body.label, x, y + 0.5);
  let top = y - r - 5;
  for (const [share, colour] of [[moment[HEALTH], "#2e8b57"], [moment[SHIELD], "#40a0dc"]]) {
    if (share === null) continue;
    const width = Math.max(2 * r, 20);
    context.fillStyle = "#c9ccc7";
    context.fillRect(x - width / 2, top - 4, width, 4);
    context.fillStyle = colour;
    context.fillRect(x - width / 2, top - 4, width * Math.max(0, Math.min(1, share)), 4);
    top -= 5;
  }
  if (moment[CARRIES]) {
    const carried = data.kinds.find((other) => other.name === moment[CARRIES]);
    context.fillStyle = "#1f2428";
    outline(context, carried ? carried.corners : 0, x + r, y - r, Math.max(4, 0.55 * r));
    context.fill();
  }
  context.globalAlpha = 1;
}

/** Draw a ring whose strength shows the agent's cost of information. */
function drawPrice(context, [x, y], r, share) {
  if (share < 0.02) return;
  context.strokeStyle = `rgba(${AMBER}, ${Math.min(1, 0.2 + share)})`;
  context.lineWidth = 1 + 4 * Math.min(1, share);
  outline(context, 0, x, y, r + 2);
  context.stroke();
}

/** Return a number of a scale as text: three digits, or all digits before the point. */
function scaleText(v) {
  return String(Math.abs(v) < 100 ? Number(v.toPrecision(3)) : Math.round(v));
}

/** Draw curves over the steps of a play, [{values, strong}], with a line at the current step; return a map from pixels to steps. */
function drawCurves(canvas, curves, length, step, colour) {
  const [context, width, height] = sharp(canvas), [left, bottom] = [38, 18];
  const most = Math.max(LEAST_NATS, ...curves.flatMap((curve) => curve.values)), least = Math.min(0, ...curves.flatMap((curve) => curve.values));
  const x = (t) => left + (width - left - 6) * t / Math.max(1, length), y = (v) => 6 + (height - bottom - 6) * (most - v) / (most - least);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = "#5c656c";
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const v of [least, most]) {
    line(context, [left, y(v)], [width - 6, y(v)], "#e3e5e1", 1);
    context.fillText(scaleText(v), left - 5, y(v));
  }
  context.textBaseline = "bottom";
  context.fillText(String(length), width - 6, height);
  context.textAlign = "left";
  context.fillText("step 0", left, height);
  for (const { values, strong } of [...curves].sort((a, b) => a.strong - b.strong)) {
    context.strokeStyle = strong ? colour : "#d5d8d3";
    context.lineWidth = strong ? 2 : 1;
    context.beginPath();
    values.forEach((v, t) => context.lineTo(x(t), y(v)));
    context.stroke();
  }
  line(context, [x(step), 2], [x(step), height - bottom], "#1f2428", 1);
  return (px) => Math.round((px - left) / (width - left - 6) * Math.max(1, length));
}

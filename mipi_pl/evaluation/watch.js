// State of the page, its controls, and the tables of each agent.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const STEPS_PER_S = 4;
const state = { episode: 0, step: 0, playing: false, selected: [], timer: null };
let panels = [];

const plays = () => data.episodes[state.episode].plays;
const lengthOf = (play) => play.rewards.length;
const longest = () => Math.max(...plays().map(lengthOf));
const element = (name, properties, ...children) => { const node = Object.assign(document.createElement(name), properties); node.append(...children); return node; };
const percent = (share) => `${Math.round(100 * share)} %`;

function openEpisode(index) {
  state.episode = index;
  $("episode").value = index;
  state.view = data.episodes[index].view;
  $("time").max = longest();
  $("plays").className = plays().length === 1 ? "single" : "";
  $("plays").replaceChildren();
  panels = plays().map(makePanel);
  state.selected = plays().map((play) => Number(Object.keys(play.agents)[0]));
  goTo(0);
}

function makePanel(play, index) {
  const all = Object.values(play.agents).flatMap((agent) => agent.kl ?? []);
  play.dearest = Math.max(LEAST_NATS, ...all);
  const node = $("panel").content.cloneNode(true).firstElementChild, part = (name) => node.querySelector(name);
  const rewards = play.rewards.reduce((sum, reward) => sum + reward, 0);
  const end = play.won === null ? "" : play.won ? "won, " : "not won, ";
  part("h2").append(play.policy, element("span", { textContent: ` · ${end}return ${rewards.toFixed(2)} in ${lengthOf(play)} steps` }));
  for (const body of play.bodies.filter((body) => body.slot in play.agents)) {
    const button = element("button", { textContent: body.name });
    button.dataset.slot = body.slot;
    button.onclick = () => select(index, body.slot);
    part(".agents").append(button);
  }
  part(".map").onclick = (event) => pick(index, event);
  part(".curve").onclick = (event) => panels[index].seek && goTo(panels[index].seek(event.offsetX));
  part(".legend").append(...legend(play));
  $("plays").append(node);
  return { node, part };
}

function legend(play) {
  const rows = [], known = new Set();
  for (const body of play.bodies) {
    const key = `${body.side} ${body.kind}`, { name, corners } = data.kinds[body.kind];
    if (known.has(key)) continue;
    known.add(key);
    const points = Array.from({ length: corners }, (_, k) => (corners % 2 ? 0 : Math.PI / corners) + 2 * Math.PI * k / corners);
    const shape = corners ? `<polygon points="${points.map((a) => `${7 + 6.5 * Math.sin(a)},${7 - 6.5 * Math.cos(a)}`).join(" ")}"` : '<circle cx="7" cy="7" r="6"';
    const entry = element("span", { innerHTML: `<svg viewBox="0 0 14 14">${shape} fill="${data.colours[body.side]}"/></svg>` });
    entry.append(body.side === 1 && name !== body.name ? `enemy ${name}` : name);
    rows.push(entry);
  }
  const sample = (colour, text) => element("span", { innerHTML: `<i style="background:${colour}"></i>` }, text);
  if (play.steps[0].some((moment) => moment[HEALTH] !== null)) rows.push(sample("#2e8b57", "health"));
  if (play.steps[0].some((moment) => moment[SHIELD] !== null)) rows.push(sample("#40a0dc", "shield"));
  const agents = Object.values(play.agents);
  if (agents.some((agent) => agent.attention)) rows.push(sample("#7a4fb5", "attention of the selected agent"));
  if (agents.some((agent) => agent.kl)) rows.push(sample("#d98a1f", "ring: cost of team information"));
  if (play.sight) rows.push(element("span", { textContent: "pale: not seen by the selected agent" }));
  return rows;
}

function pick(index, event) {
  const play = plays()[index], canvas = panels[index].part(".map"), { scale, at } = projection(state.view, canvas.getBoundingClientRect().width);
  const moments = play.steps[Math.min(state.step, lengthOf(play))];
  const near = play.bodies.map((body, j) => ({ body, far: Math.hypot(at(moments[j])[0] - event.offsetX, at(moments[j])[1] - event.offsetY) - radius(play, j, scale) }))
    .filter(({ body, far }) => body.slot in play.agents && far < 8).sort((a, b) => a.far - b.far);
  if (near.length) select(index, near[0].body.slot);
}

/** Select an agent; also in the other plays, if they have an agent in this slot. */
function select(index, slot) {
  plays().forEach((play, other) => { if (other === index || slot in play.agents) state.selected[other] = slot; });
  show();
}

function goTo(step) {
  state.step = Math.max(0, Math.min(longest(), step));
  if (state.step === longest()) setPlaying(false);
  show();
}

function setPlaying(on) {
  clearInterval(state.timer);
  if (on && state.step >= longest()) goTo(0);
  state.playing = on;
  $("play").textContent = on ? "Pause" : "Play";
  if (on) state.timer = setInterval(() => goTo(state.step + 1), 1000 / (STEPS_PER_S * Number($("speed").value)));
}

function show() {
  $("time").value = state.step;
  $("step").textContent = `step ${state.step} of ${longest()}`;
  const shows = Object.fromEntries(["orders", "sight", "attention"].map((name) => [name, $(`show-${name}`).checked]));
  plays().forEach((play, index) => {
    const panel = panels[index], step = Math.min(state.step, lengthOf(play)), slot = state.selected[index];
    drawMap(panel.part(".map"), data, play, step, slot, state.view, shows);
    showAgent(panel, play, step, slot);
  });
}

function showAgent(panel, play, step, slot) {
  const agent = play.agents[slot], k = play.bodies.findIndex((body) => body.slot === slot), moment = play.steps[step][k];
  for (const button of panel.part(".agents").children) {
    const own = Number(button.dataset.slot), j = play.bodies.findIndex((body) => body.slot === own);
    button.setAttribute("aria-pressed", String(own === slot));
    button.classList.toggle("gone", !play.steps[step][j][HERE]);
  }
  const over = step >= lengthOf(play), last = Math.min(step, lengthOf(play) - 1);
  const facts = [play.bodies[k].name];
  if (moment[HEALTH] !== null) facts.push(`health ${percent(moment[HEALTH])}`);
  if (moment[SHIELD] !== null) facts.push(`shield ${percent(moment[SHIELD])}`);
  const target = play.bodies.find((body) => body.slot === moment[TARGET]);
  if (moment[ORDER]) facts.push(moment[ORDER] + (target ? ` ${target.name}` : ""));
  if (!over && moment[HERE] && agent.kl) facts.push(`information costs ${agent.kl[step].toFixed(3)} nats`);
  const sum = play.rewards.slice(0, step).reduce((total, reward) => total + reward, 0);
  panel.part(".status").replaceChildren(facts.join(" · "), element("br"), `${over ? `over: ${play.outcomes[step]}` : play.outcomes[step]} · return so far ${sum.toFixed(2)}`);
  const tables = [actionTable(agent, play, last, over)];
  if (agent.attention) tables.push(attentionTable(agent, play, last, over));
  panel.part(".tables").replaceChildren(...tables);
  panel.node.classList.toggle("over", over);
  showCurve(panel, play, step, slot);
}

const cell = (content, className = "") => { const node = element("td", { className }); node.append(content ?? ""); return node; };
const bar = (share, className) => { const node = element("div", { className: `bar ${className}` }); node.style.width = `${100 * Math.max(0, Math.min(1, share))}%`; return node; };

function actionTable(agent, play, step, over) {
  const table = element("table", { className: "actions" }), columns = [];
  if (agent.policy) columns.push("policy");
  if (agent.marginal) columns.push("marginal");
  if (agent.utility) columns.push("utility");
  table.append(element("caption", { textContent: over ? "Last action" : "Next action" }));
  const head = table.createTHead().insertRow();
  head.append(element("th", { textContent: "action" }));
  if (agent.policy) head.append(element("th", { textContent: "" }));
  columns.forEach((name) => head.append(element("th", { className: `number ${name}`, textContent: name })));
  const body = table.createTBody();
  agent.rows.forEach((action, i) => {
    const row = body.insertRow(), available = agent.available[step][i];
    row.className = `${available ? "" : "off"} ${agent.action[step] === action ? "taken" : ""}`;
    row.append(cell(play.actions[action] ?? String(action)));
    if (agent.policy) {
      const bars = cell(available ? bar(agent.policy[step][i], "policy") : "");
      if (agent.marginal && available) bars.append(bar(agent.marginal[step][i], "marginal"));
      row.append(bars);
    }
    for (const name of columns) row.append(cell(available ? agent[name][step][i].toFixed(name === "utility" ? 2 : 3) : "–", "number"));
  });
  return table;
}

function attentionTable(agent, play, step, over) {
  const table = element("table", { className: "attention" });
  table.append(element("caption", { textContent: over ? "Last attention" : "Attention" }));
  const head = table.createTHead().insertRow();
  head.append(element("th", { textContent: "to" }), element("th"), element("th", { className: "number", textContent: "weight" }));
  const rows = table.createTBody();
  play.bodies.forEach((body, j) => {
    const row = rows.insertRow(), seen = agent.sees[step][j];
    row.className = seen ? "" : "off";
    row.append(cell(body.name), cell(seen ? bar(agent.attention[step][j], "attention") : ""), cell(seen ? agent.attention[step][j].toFixed(3) : "–", "number"));
  });
  return table;
}

/** The agents' cost of information over time; without a marginal policy, the return so far. */
function showCurve(panel, play, step, slot) {
  const price = play.agents[slot].kl, caption = panel.part("figcaption");
  const name = play.bodies.find((body) => body.slot === slot).name;
  caption.textContent = price ? "KL of the policy from its marginal, nats" : "Return so far";
  caption.append(element("span", { textContent: price ? ` · bold: ${name}; pale: its teammates` : "" }));
  let total = 0;
  const curves = price
    ? Object.entries(play.agents).map(([other, agent]) => ({ values: agent.kl, strong: Number(other) === slot }))
    : [{ values: [0, ...play.rewards.map((reward) => (total += reward))], strong: true }];
  panel.seek = drawCurves(panel.part(".curve"), curves, lengthOf(play), step, price ? "#d98a1f" : "#2662ad");
}

function start() {
  data.episodes.forEach((episode, index) => $("episode").append(element("option", { value: index, textContent: episode.name })));
  $("episode").onchange = () => { setPlaying(false); openEpisode(Number($("episode").value)); };
  $("play").onclick = () => setPlaying(!state.playing);
  $("first").onclick = () => goTo(0);
  $("back").onclick = () => { setPlaying(false); goTo(state.step - 1); };
  $("forward").onclick = () => { setPlaying(false); goTo(state.step + 1); };
  $("time").oninput = () => goTo(Number($("time").value));
  $("speed").onchange = () => setPlaying(state.playing);
  for (const name of ["orders", "sight", "attention"]) $(`show-${name}`).onchange = show;
  const keys = { " ": "play", ArrowLeft: "back", ArrowRight: "forward", Home: "first" };
  document.addEventListener("keydown", (event) => {
    const { tagName, type } = event.target;
    // What has the focus may need the key itself: lists and the slider any, buttons and check boxes the space bar.
    const isOwn = tagName === "SELECT" || type === "range" || (event.key === " " && ["BUTTON", "INPUT"].includes(tagName));
    if (!(event.key in keys) || isOwn) return;
    event.preventDefault();
    $(keys[event.key]).click();
  });
  window.addEventListener("resize", show);
  openEpisode(0);
}

start();

"use strict";
(() => {
  document.documentElement.classList.add("js");

  // Tables: a heading becomes a button that sorts; a second press turns the order round; what is missing stays last.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.dataset.text === undefined ? null : cell.dataset.text;
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const sort = (table, column) => {
    const heads = [...table.tHead.rows[0].cells];
    const rows = [...table.tBodies[0].rows];
    const numbers = rows.some((row) => typeof key(row, column) === "number");
    const before = heads[column].getAttribute("aria-sort");
    const first = numbers && column > 0 ? "descending" : "ascending";
    const other = { ascending: "descending", descending: "ascending" };
    const order = before ? other[before] : first;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => compare(key(a, column), key(b, column), sign));
    table.tBodies[0].append(...rows);
  };
  document.querySelectorAll("table[data-sortable]").forEach((table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(table, column));
      head.replaceChildren(button);
    });
  });

  // Filters of a table: by what a cell has, by a part of a name, by a limit of a number. Its attributes name the columns.
  const labelled = (place, text, control) => {
    const label = document.createElement("label");
    label.append(text, control);
    place.append(label);
    return control;
  };
  const choice = (texts) => {
    const select = document.createElement("select");
    select.append(...texts.map((text, i) => new Option(text, i ? text : "")));
    return select;
  };
  document.querySelectorAll("table[data-search]").forEach((table) => {
    const { search, choose, limit, mode } = table.dataset;
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
    const rows = [...table.tBodies[0].rows];
    const place = document.createElement("div");
    const shown = document.createElement("p");
    const text = (row, name) => row.cells[heads.indexOf(name)].textContent;
    const tests = choose.split(",").filter((name) => heads.includes(name)).flatMap((name) => {
      const found = [...new Set(rows.map((row) => text(row, name)))].sort();
      if (found.length < 2) return [];
      const select = labelled(place, name, choice(["all", ...found]));
      return [(row) => !select.value || text(row, name) === select.value];
    });
    const part = labelled(place, "name has", document.createElement("input"));
    part.type = "search";
    tests.push((row) => text(row, search).toLowerCase().includes(part.value.trim().toLowerCase()));
    if (heads.includes(limit)) {
      const bound = labelled(place, `${limit} at ${mode === "max" ? "least" : "most"}`, document.createElement("input"));
      bound.type = "number";
      bound.step = "any";
      const sign = mode === "max" ? 1 : -1;
      tests.push((row) => {
        const value = key(row, heads.indexOf(limit));
        return bound.value === "" || (value !== null && sign * (value - Number(bound.value)) >= 0);
      });
    }
    place.className = "filters";
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", "Filter the trials");
    shown.setAttribute("role", "status");
    place.append(shown);
    place.addEventListener("input", () => {
      rows.forEach((row) => { row.hidden = !tests.every((test) => test(row)); });
      shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown`;
    });
    table.parentElement.before(place);
  });

  // Files: a table as CSV, a chart as SVG, made here and handed to the browser.
  const offer = (place, label, of, make) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "save";
    button.textContent = label;
    button.setAttribute("aria-label", `${label} of ${of}`);
    button.addEventListener("click", () => Promise.resolve(make()).then((content) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(content);
      link.download = `${of.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.${label.toLowerCase()}`;
      link.click();
    }));
    place.append(" ", button);
  };
  const harmless = (text) => (/^[=@]/.test(text) ? `'${text}` : text); // no spreadsheet takes it for a formula
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const below = (cell) => [...cell.querySelectorAll("small")].map((line) => line.textContent).join("; ");
  const plain = (cell, column) => {
    if (column > 0 && cell.dataset.value !== undefined) return cell.dataset.value;
    const own = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL").map((node) => node.textContent);
    return own.join("").trim().replace(/^–$/, ""); // a dash stands for what is missing
  };
  document.querySelectorAll("table").forEach((table) => {
    const caption = document.getElementById(table.getAttribute("aria-labelledby"));
    offer(caption, "CSV", caption.textContent, () => {
      const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => [...row.cells]);
      const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
      const wide = heads.map((_, column) => rows.some((row) => below(row[column])));
      const spread = (cells, name, more) => cells.flatMap((one, i) => (wide[i] ? [name(one, i), more(one)] : [name(one, i)]));
      const now = rows.map((cells) => spread(cells, plain, below));
      const lines = [spread(heads, (one) => one, (one) => `${one}, below`), ...now];
      return new Blob([lines.map((line) => line.map(harmless).map(quoted).join(",")).join("\n"), "\n"], { type: "text/csv" });
    });
  });

  // Charts: drawn when they come near, in the colours of the page, and again when those change.
  const plots = [...document.querySelectorAll(".plot")];
  if (!plots.length || typeof Plotly === "undefined") return;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const coloured = (layout) => {
    const ink = style("--ink");
    const line = style("--line");
    const soft = style("--strong");
    const own = structuredClone(layout);
    own.font = { ...own.font, color: ink };
    own.paper_bgcolor = own.plot_bgcolor = "rgba(0,0,0,0)";
    own.hoverlabel = { ...own.hoverlabel, bgcolor: style("--panel"), bordercolor: soft };
    own.hoverlabel.font = { ...own.hoverlabel.font, color: ink };
    Object.keys(own).filter((name) => /^[xy]axis\d*$/.test(name)).forEach((name) => {
      own[name] = { ...own[name], gridcolor: line, zerolinecolor: soft, linecolor: soft, tickcolor: soft };
    });
    return own;
  };
  const settings = { responsive: true, displaylogo: false, displayModeBar: false };
  const draw = (plot) => {
    const figure = figures[plot.id];
    return Plotly.react(plot, figure.data, coloured(figure.layout), settings).then(() => {
      if (!plot.dataset.drawn && figure.layout.meta) picks(plot, figure);
      plot.dataset.drawn = "yes";
    });
  };
  // A line of many is picked by a click on it, or by its name: the others fade.
  const picks = (plot, { data, layout }) => {
    const names = layout.meta.lines;
    const looks = data.map((trace) => [trace.opacity, trace.line.width]);
    const place = document.createElement("div");
    const select = labelled(place, "highlight", choice(["none", ...[...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true }))]));
    const show = () => {
      const faded = (name) => select.value && name !== select.value;
      Plotly.restyle(plot, {
        opacity: names.map((name, i) => (faded(name) ? 0.15 : select.value ? 1 : looks[i][0])),
        "line.width": names.map((name, i) => (select.value === name ? 4 : looks[i][1])),
      });
    };
    place.className = "filters";
    select.addEventListener("input", show);
    plot.on("plotly_click", (event) => {
      const name = names[event.points[0].curveNumber];
      select.value = select.value === name ? "" : name;
      show();
    });
    plot.before(place);
  };
  const onPaper = (layout, width) => {
    const own = structuredClone(layout);
    return { ...own, width, font: { ...own.font, color: "#1a1a1a" }, paper_bgcolor: "#fff", plot_bgcolor: "#fff" };
  };
  plots.forEach((plot) => {
    const title = plot.closest("article").querySelector("h3");
    offer(title, "SVG", title.textContent, () => {
      const { data, layout } = figures[plot.id];
      const size = { format: "svg", width: 900, height: layout.height };
      return Plotly.toImage({ data, layout: onPaper(layout, 900) }, size).then((address) => (
        new Blob([decodeURIComponent(address.replace(/^[^,]*,/, ""))], { type: "image/svg+xml" })
      ));
    });
  });
  // On paper all charts are drawn, whether they were looked at or not, as wide as a page of A4 or Letter.
  const inSight = (plot) => plot.offsetParent !== null; // of a trial's page only where it is open
  window.addEventListener("beforeprint", () => plots.filter(inSight).forEach((plot) => {
    const { data, layout } = figures[plot.id];
    Plotly.react(plot, data, onPaper(layout, 660), settings);
  }));
  window.addEventListener("afterprint", () => plots.forEach((plot) => {
    if (plot.dataset.drawn && inSight(plot)) draw(plot);
    else Plotly.purge(plot);
  }));
  const seen = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      seen.unobserve(entry.target);
      draw(entry.target);
    });
  }, { rootMargin: "300px 0px" });
  plots.forEach((plot) => seen.observe(plot));
  const again = () => plots.filter((plot) => plot.dataset.drawn && inSight(plot)).forEach((plot) => {
    draw(plot).then(() => Plotly.Plots.resize(plot));
  });
  dark.addEventListener("change", again);
  window.addEventListener("hashchange", again); // what was out of sight missed a change of colours or of width
})();

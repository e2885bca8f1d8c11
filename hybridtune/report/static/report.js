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
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
    const wide = heads.map((_, column) => rows.some((row) => below(row[column])));
    const spread = (cells, name, more) => cells.flatMap((one, i) => (wide[i] ? [name(one, i), more(one)] : [name(one, i)]));
    const caption = document.getElementById(table.getAttribute("aria-labelledby"));
    offer(caption, "CSV", caption.textContent, () => {
      const now = [...table.tBodies[0].rows].map((row) => spread([...row.cells], plain, below));
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
    return Plotly.react(plot, figure.data, coloured(figure.layout), settings).then(() => { plot.dataset.drawn = "yes"; });
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
  window.addEventListener("beforeprint", () => plots.forEach((plot) => {
    const { data, layout } = figures[plot.id];
    Plotly.react(plot, data, onPaper(layout, 660), settings);
  }));
  window.addEventListener("afterprint", () => plots.forEach((plot) => {
    if (plot.dataset.drawn) draw(plot);
    else Plotly.purge(plot);
  }));
  const seen = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      seen.unobserve(entry.target);
      draw(entry.target);
    });
  }, { rootMargin: "300px 0px" });
  plots.forEach((plot) => seen.observe(plot));
  dark.addEventListener("change", () => plots.filter((plot) => plot.dataset.drawn).forEach(draw));
})();

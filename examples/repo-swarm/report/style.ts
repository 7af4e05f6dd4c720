/** The report's style sheet; one palette for light and one for dark, by the reader's setting. */
export const STYLE = `
:root{color-scheme:light dark;--bg:#f7f7f5;--card:#fff;--ink:#1d2129;--soft:#667085;--line:#e3e4e2;--good:#16794c;--bad:#c4320a;--warn:#b7791f;--accent:#3657c8;
--k0:#4f7cd6;--k1:#7f63c9;--k2:#3f9f8a;--k3:#8fa3b8;--k4:#d08a2e;--k5:#57a3d9;--k6:#c75b7f;--k7:#7fa447;--other:#5c6470;--outage:#c4320a1f;--shade:#0000000a}
@media (prefers-color-scheme:dark){:root{--bg:#111318;--card:#191c23;--ink:#e7e9ee;--soft:#949cab;--line:#2a2f3a;--good:#4cc38a;--bad:#ff7a59;--warn:#e2b04a;--accent:#8ea6ff;
--k0:#6b93ea;--k1:#9a82e0;--k2:#4fb8a1;--k3:#8393a8;--k4:#dd9c48;--k5:#6fb6e8;--k6:#dc7798;--k7:#98bd60;--other:#7b8494;--outage:#ff7a5926;--shade:#ffffff0a}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1240px;margin:0 auto;padding:36px 24px 60px}
h1{font-size:30px;line-height:1.15;margin:0 0 6px;letter-spacing:-.02em}
h2{font-size:19px;margin:0 0 4px;letter-spacing:-.01em}
p{margin:0 0 12px}
.soft,.lead,figcaption,dt{color:var(--soft)}
.lead{max-width:78ch;margin-bottom:22px}
code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 22px;margin:18px 0}
.runs{display:grid;grid-template-columns:repeat(3,1fr);gap:16px;margin:0 0 18px}
.run{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px}
.run.main{border-color:var(--accent);box-shadow:0 0 0 1px var(--accent)}
.run h2{font-size:15px;font-weight:600;color:var(--soft)}
.run .time{font-size:34px;font-weight:650;letter-spacing:-.03em;line-height:1.2}
.run .lost{font-weight:600}.run .lost.good{color:var(--good)}.run .lost.bad{color:var(--bad)}
.track{display:block;margin:12px 0 10px;border-radius:4px}.rest{fill:var(--shade)}.part{fill:var(--soft)}.run.main .part{fill:var(--accent)}
.checks{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:4px 24px}
.checks li{padding-left:23px;text-indent:-23px}
.checks li::before{content:"✓";color:var(--good);font-weight:700;margin-right:9px}
.checks li.broken::before{content:"✗";color:var(--bad)}
.scroll{overflow-x:auto}
.lanes{display:block;width:100%;min-width:900px;margin-top:8px}
.lanes text,.cycle text{font-family:inherit;fill:var(--ink)}
.lanes .agent{font-size:13px;font-weight:550}
.lanes .time{font-size:11px;text-anchor:middle;fill:var(--soft)}
.tick{stroke:var(--line);stroke-dasharray:2 4}.base{stroke:var(--line)}
.k-licence-header{fill:var(--k0);background:var(--k0)}.k-import-order{fill:var(--k1);background:var(--k1)}.k-json-key-order{fill:var(--k2);background:var(--k2)}.k-line-endings{fill:var(--k3);background:var(--k3)}
.k-todo-index{fill:var(--k4);background:var(--k4)}.k-table-of-contents{fill:var(--k5);background:var(--k5)}.k-symbol-rename{fill:var(--k6);background:var(--k6)}.k-folder-index{fill:var(--k7);background:var(--k7)}.k-other{fill:var(--other);background:var(--other)}
.span.failed rect:first-child{opacity:.4}.over{fill:url(#hatch)}.hatch{fill:var(--card);opacity:.75}
.span.inner rect{stroke:var(--card);stroke-width:1.2}
.span:hover rect:first-child{opacity:.75}
.wait{fill:var(--warn)}.wait.given-up{fill:var(--bad)}
.steal{fill:none;stroke:var(--ink);stroke-width:1.3;opacity:.75}.arrow{fill:var(--ink)}
.conflict{stroke:var(--card);stroke-width:1.2}.conflict.merged{fill:var(--good)}.conflict.retried,.conflict.open{fill:var(--warn)}
.deadlock line{stroke:var(--bad);stroke-width:2.5}.deadlock circle{fill:var(--bad);stroke:var(--card);stroke-width:1.5}
.outage rect{fill:var(--outage)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin:12px 0 0;padding:0;color:var(--soft);font-size:13px}
.legend li{display:flex;align-items:center;gap:7px}
.legend i{display:inline-block;flex:none}
.legend .box{width:13px;height:13px;border-radius:3px}
.legend .box.failed{background:repeating-linear-gradient(135deg,var(--soft) 0 2px,transparent 2px 5px)}
.legend .box.inner{height:7px;background:var(--soft)}
.legend .box.outage{background:var(--outage);border:1px solid var(--bad)}
.legend .dash{width:16px;height:4px;background:var(--warn)}
.legend .dot{width:10px;height:10px;border-radius:50%;background:var(--bad)}
.legend .diamond{width:9px;height:9px;transform:rotate(45deg)}.legend .merged{background:var(--good)}.legend .retried{background:var(--warn)}
.legend .arrowline{width:18px;height:0;border-top:1.5px solid var(--ink);opacity:.75}
details{margin-top:14px}summary{cursor:pointer;color:var(--accent);font-weight:550}
.two{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:18px}.two section{margin:0}.two+section,section+.two{margin-top:18px}
.cycle{display:block;width:100%;max-width:620px;margin:4px auto}
.cycle .task rect{fill:var(--accent)}.cycle .task text{fill:#fff;text-anchor:middle;font-size:14px;font-weight:600}
@media (prefers-color-scheme:dark){.cycle .task text{fill:#10131a}}
.cycle .victim rect{fill:var(--bad)}.cycle .file rect{fill:var(--card);stroke:var(--line);stroke-width:1.5}.cycle .file text{text-anchor:middle;font:12px ui-monospace,Menlo,Consolas,monospace}
.edge{fill:none;stroke-width:2}.edge.waits{stroke:var(--bad);stroke-dasharray:5 4}.edge.holds{stroke:var(--soft)}path.waits{fill:var(--bad)}path.holds{fill:var(--soft)}.edge.waits,.edge.holds{fill:none}
.cycle .edge-name{font-size:12px;fill:var(--soft)}
table{width:100%;border-collapse:collapse;font-size:14px}
th{font-weight:550;color:var(--soft);text-align:left;border-bottom:1px solid var(--line);padding:5px 10px 5px 0}
td{border-bottom:1px solid var(--line);padding:5px 10px 5px 0;vertical-align:middle}
td:first-child,.name{white-space:nowrap}
tr:last-child td{border-bottom:0}
.n{text-align:right;white-space:nowrap}
td.bad{color:var(--bad)}td.good{color:var(--good)}
footer{color:var(--soft);font-size:13px;margin-top:26px}
@media (max-width:860px){.runs,.two{grid-template-columns:1fr}main{padding:20px 14px}}
`;

"""Colours and layout of the page: light and dark, a phone and a desk."""

from __future__ import annotations

from typing import Final

# Blue, orange, purple, green of Okabe and Ito (2008): told apart with every kind of colour blindness.
STYLE: Final = """
:root{--bg:#fff;--fg:#1a1a1a;--dim:#5c5c5c;--line:#ddd;--soft:#f4f4f2;--c0:#0072b2;--c1:#c67f00;--c2:#b0508a;--c3:#6b6b6b;--c4:#00795a;
--up:#0072b2;--down:#d55e00;--no:#b3261e;--yes:#00704f;--ask:#8a6100}
@media(prefers-color-scheme:dark){:root{--bg:#15171a;--fg:#e8e8e6;--dim:#a3a5a8;--line:#35383d;--soft:#1f2226;--c0:#56b4e9;--c1:#f0ad33;
--c2:#e08fc0;--c3:#a8a8a8;--c4:#2fc79a;--up:#3f9bd6;--down:#e0702a;--no:#ff8a80;--yes:#4cd3a5;--ask:#e9b949}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1200px;margin:20px auto;padding:0 16px;
overflow-wrap:anywhere}
h1{font-size:21px;line-height:1.3;margin:0}h2{font-size:18px;margin:36px 0 8px}h3{font-size:15px;margin:18px 0 4px}
p{margin:6px 0;max-width:100ch}.n,small,dt{color:var(--dim)}.n{font-size:13.5px}code{font-size:12.5px}
ul{padding-left:20px;max-width:100ch}
.answer{margin:16px 0;padding:14px 18px;border-left:6px solid;background:var(--soft);font-size:18px;max-width:none}
.answer.no{border-color:var(--no)}.answer.yes{border-color:var(--yes)}.answer.not{border-color:var(--ask)}
.answer.no strong,b.no{color:var(--no)}.answer.yes strong,b.yes{color:var(--yes)}.answer.not strong,b.not{color:var(--ask)}
.cards{display:grid;grid-template-columns:repeat(4,1fr);gap:1px;background:var(--line);border:1px solid var(--line);margin:16px 0}
.cards div{background:var(--bg);padding:10px 12px}dt{font-size:13px}dd{margin:0;font-size:19px;font-variant-numeric:tabular-nums}
dd.none{font-size:15px}dd small{display:block;font-size:12.5px}
.questions{list-style:none;padding:0}.questions li{display:grid;grid-template-columns:92px 1fr;gap:8px;
padding:6px 0;border-top:1px solid var(--line)}
.note{border-left:3px solid var(--ask);padding-left:10px;font-size:13.5px}
figure{margin:14px 0 22px}figcaption{font-weight:600}
.legend{display:flex;flex-wrap:wrap;gap:2px 18px;font-size:13px;color:var(--dim);margin:2px 0 6px}
.legend i{display:inline-block;margin-right:6px;background:currentColor}
i.line{width:18px;height:3px;vertical-align:4px}i.dot{width:9px;height:9px;border-radius:5px}
i.ring{width:9px;height:9px;border-radius:5px;border:2px solid currentColor;background:none!important}
i.s0{color:var(--c0)}i.s1{color:var(--c1)}i.s2{color:var(--c2)}i.s3{color:var(--c3)}i.s4{color:var(--c4)}i.flat{color:var(--dim)}
.plot{position:relative;height:300px;margin:0 8px 26px 74px}
.plot svg{width:100%;height:100%;display:block;border:1px solid var(--line);overflow:hidden}
svg path{fill:none;stroke-width:1.4px;vector-effect:non-scaling-stroke;stroke-linejoin:round}
path.s0{stroke:var(--c0)}path.s1{stroke:var(--c1)}path.s2{stroke:var(--c2)}path.s3{stroke:var(--c3)}path.s4{stroke:var(--c4)}
path.flat{stroke:var(--dim);stroke-dasharray:5 4}svg path.grid{stroke:var(--line);stroke-width:1px}
svg path.dot{stroke-width:7px;stroke-linecap:round}svg path.small{stroke-width:3px}svg path.hole{stroke:var(--bg);stroke-width:3.5px}
.plot b{position:absolute;font-weight:400;font-size:12px;color:var(--dim);white-space:nowrap;font-variant-numeric:tabular-nums}
.plot b.y{right:calc(100% + 6px);transform:translateY(-50%)}.plot b.x{top:calc(100% + 4px);transform:translateX(-50%)}
.fall{display:grid;grid-template-columns:max-content 1fr max-content;gap:4px 12px;align-items:center;max-width:900px}
.track{position:relative;height:20px;background:var(--soft)}.track i{position:absolute;top:0;height:100%;min-width:1.5px}
.track i.zero{width:1px;min-width:1px;background:var(--fg)}i.cost{background:var(--down)}i.gain{background:var(--c4)}
i.total{background:var(--c0)}
i.total.bad{background:var(--no)}.amount{text-align:right;font-variant-numeric:tabular-nums}
.year{display:grid;grid-template-columns:76px repeat(12,1fr);gap:2px;margin-bottom:2px;font-size:12px;line-height:1.35;text-align:center}
.year strong{text-align:left;align-self:center}.year b{display:block}
.year span{padding:6px 1px;white-space:nowrap;font-variant-numeric:tabular-nums}
.year span.none{color:var(--dim);background:var(--soft)}
.scroll{overflow-x:auto;max-width:100%}table{border-collapse:collapse;margin:4px 0 10px;font-size:13.5px}
th,td{padding:3px 12px 3px 0;text-align:right;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums;vertical-align:top}
th{font-weight:600;vertical-align:bottom}th:first-child,td:first-child{text-align:left}
.words th,.words td{text-align:left}.codes td:nth-child(2){text-align:right}
.codes td:nth-child(odd){overflow-wrap:anywhere;min-width:76px}.codes td:last-child{overflow-wrap:anywhere;min-width:110px}
.loss{color:var(--no)}
table{overflow-wrap:break-word}.figures{width:100%}.figures td:nth-child(3){white-space:nowrap}.figures td:nth-child(2){min-width:78px}
.groups{overflow-wrap:normal}.groups th{min-width:76px}
.groups td small{display:block;max-width:90px;margin-left:auto}.words td{overflow-wrap:break-word;min-width:64px}
.columns{columns:2;column-gap:40px}.columns section{break-inside:avoid}.columns h3{margin-top:0}
details{margin:6px 0}summary{cursor:pointer}
@media(max-width:700px){
body{padding:0 12px;font-size:14.5px}.answer{font-size:16px;padding:12px 14px}.cards{grid-template-columns:1fr 1fr}dd{font-size:16.5px}
.questions li{grid-template-columns:1fr;gap:0}.plot{height:230px;margin-left:58px}.plot b{font-size:11px}.plot b.odd{display:none}
.year{grid-template-columns:repeat(6,1fr);margin-bottom:10px}.year strong{grid-column:1/-1}
.year strong{display:flex;gap:10px}.columns{columns:1}.fall{gap:4px 8px;font-size:13.5px}
.figures td:nth-child(3){white-space:normal;min-width:96px}th,td{padding-right:9px}.groups td:first-child,
.groups th:first-child{position:sticky;left:0;background:var(--bg)}}
"""

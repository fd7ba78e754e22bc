const e=r=>r.trim()===""?void 0:Number(r);function a(r){if(r.trim()==="")return{value:void 0,bad:!1};try{return{value:JSON.parse(r),bad:!1}}catch{return{value:void 0,bad:!0}}}export{e as n,a as p};

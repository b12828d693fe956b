// hc_seq, for all time after a reset: its counters stay inside what they count, a matrix's steps go
// strictly upwards (so they end), one kind of step at a time is issued, only between a word's load and
// its end, and every start leads to at most one finish.
// By induction. Assumed: what the assembler writes (a program ends with END in its last word at the
// latest, counts are at least 1, padded is in whole blocks), that attention's chunks stand still, and
// first <= last.
module f_seq
  import hardcast_pkg::*;
(
  input logic                clk,
  input logic                rst_n,
  input logic                start,
  input logic                want_logits,
  input prog_t               prog_word,
  input logic                rows_done,
  input logic                blocks_done,
  input logic                heads_done,
  input logic                angle_done,
  input logic                head_sum_done,
  input logic                head_apply_done,
  input logic                embed_done,
  input logic [CHUNK_AW-1:0] first_chunk,
  input logic [CHUNK_AW-1:0] last_chunk,
  input logic                score_done,
  input logic                mix_done,
  input logic                sample_done
);
  logic finished, mat_valid, vec_valid, embed_valid, embed_done_flag;
  logic score, mix, chunk_first, chunk_last, sample;
  logic [PROG_AW-1:0] prog_addr;
  mat_t mat;
  rows_t rows;
  vec_t vec;
  logic [GAIN_AW-1:0] gain_addr;
  logic [UIDX_W-1:0] user;
  logic [XWORD_AW-1:0] embed_word;
  logic [FOLD_AW-1:0] fold;
  logic [CHUNK_AW-1:0] chunk;
  logic [KV_AW-1:0] kv_base;
  logic [POS_W-1:0] window;
  logic [47:0] epsilon;
  logic [2:0] kind;
  hc_seq seq (.*);
  localparam int IDLE = 0, FETCH = 1, LOAD = 2, RUN = 3, WAIT = 4, SCORE_WAIT = 5, MIX_WAIT = 6;
  wire [2:0] state = 3'(seq.state);

  logic old = 1'b0;
  logic [PROG_AW-1:0] addr_1;
  logic [CHUNK_AW-1:0] first_1, last_1;
  logic attending_1;
  wire attending = (state == RUN || state == SCORE_WAIT || state == MIX_WAIT) && seq.w.op == OP_ATTEND;
  always_ff @(posedge clk) begin
    old <= 1'b1;
    addr_1 <= prog_addr;
    {first_1, last_1} <= {first_chunk, last_chunk};
    attending_1 <= attending || state == LOAD;
  end

  function automatic logic sane(input prog_t p);
    unique case (p.op)
      OP_END, OP_SAMPLE: return 1'b1;
      OP_MATVEC: return p.passes != 0 && p.rounds != 0;
      OP_EMBED, OP_ANGLE: return p.words != 0;
      OP_ROPE, OP_VALUE, OP_HAPPLY: return p.padded != 0 && 32'(p.padded) % WPBH == 0;
      OP_HSUM: return p.padded != 0 && 32'(p.padded) % (HSUM_WORDS > WPBH ? HSUM_WORDS : WPBH) == 0;
      default: return p.padded != 0 && 32'(p.padded) % WPB64 == 0;
    endcase
  endfunction
  always_comb begin
    if (!old) assume (!rst_n);
    if (state == LOAD) begin
      assume (sane(prog_word) && prog_word.op <= OP_SAMPLE);
      if (32'(addr_1) == PROG_D - 1) assume (prog_word.op == OP_END);
    end
    assume (first_chunk <= last_chunk && 32'(last_chunk) < CHUNKS);
    if (attending_1 && attending) assume (first_chunk == first_1 && last_chunk == last_1);
  end

  // Ranges.
  wire [31:0] block = seq.w.op == OP_HSUM ? HSUM_WORDS
                    : seq.w.op == OP_ROPE || seq.w.op == OP_VALUE || seq.w.op == OP_HAPPLY ? WPBH : WPB64;
  always_comb if (old) begin
    assert (state <= MIX_WAIT);
    if (state == FETCH) assert (seq.pc == 0);
    if (state == LOAD) assert (addr_1 == seq.pc);
    if (state != IDLE && state != FETCH) begin
      assert (32'(seq.pc) <= PROG_D - (state == LOAD ? 1 : 0) || state == RUN);
      assert (32'(seq.pc) <= PROG_D - 1);
    end
    if (state >= RUN) begin
      assert (sane(seq.w) && seq.w.op <= OP_SAMPLE && seq.w.op != OP_END);
      assert (32'(seq.phase) <= 2);
      assert (seq.w.op == OP_ATTEND || seq.phase == 0);
    end
    if (state == SCORE_WAIT) assert (seq.w.op == OP_ATTEND && seq.phase == 0);
    if (state == MIX_WAIT) assert (seq.w.op == OP_ATTEND && seq.phase == 1);
    if (attending) begin
      assert (seq.chunk_n >= first_chunk && seq.chunk_n <= last_chunk);
      assert (32'(seq.fold_n) < FOLD);
      if (state != RUN) assert (seq.fold_n == 0 && seq.chunk_n == first_chunk);
      if (state != RUN || seq.phase != 2) assert (seq.word == 0 && seq.in_block == 0);
    end
    if (state == RUN) begin
      assert (32'(seq.k) < R);
      assert (seq.act <= seq.w.wide && seq.plane <= seq.w.planes2);
      assert (32'(seq.user_n) < U);
      assert (32'(seq.in_block) < block);
      assert (32'(seq.angle) < ANGLE_WORDS);
      unique case (seq.w.op)
        OP_MATVEC: assert (seq.pass < seq.w.passes && seq.round < seq.w.rounds
                           && 32'(seq.row_base) == (32'(seq.round) * R) % (1 << WORD_AW));
        OP_EMBED, OP_ANGLE: assert (seq.word < seq.w.words);
        OP_SAMPLE: ;
        default: assert (seq.word < seq.w.padded && 32'(seq.in_block) == 32'(seq.word) % block);
      endcase
    end
  end

  // A matrix's steps go up one by one; a whole block ends every vector step.
  wire [63:0] place = 64'({seq.round, seq.plane, seq.pass, seq.act, seq.k});
  logic [63:0] place_1;
  logic        more_1, running_1, busy;
  always_ff @(posedge clk) begin
    place_1 <= place;
    more_1 <= rst_n && state == RUN && seq.w.op == OP_MATVEC && !seq.last_issue;
    running_1 <= rst_n && state == RUN;
    if (!rst_n) busy <= 1'b0;
    else if (state == IDLE && start) busy <= 1'b1;
    else if (finished) busy <= 1'b0;
  end
  always_comb if (old) begin
    if (more_1) assert (state == RUN && place > place_1);
    if (state == RUN && seq.last_issue && seq.w.op != OP_MATVEC && seq.w.op != OP_SAMPLE
        && seq.w.op != OP_EMBED && seq.w.op != OP_ANGLE && !(seq.w.op == OP_ATTEND && seq.phase != 2))
      assert (seq.last_in_block);
    assert (32'(mat_valid) + 32'(vec_valid) + 32'(embed_valid) + 32'(score) + 32'(mix) + 32'(sample)
            == 32'(running_1));
    assert (finished ? state == IDLE : busy == (state != IDLE));
    if (finished) assert (busy);
  end
endmodule

// Stands in for the chip behind its host port: a few registers, a ROM of 16 words from the folder
// of +hc_rom, and a run that takes as many cycles as register 0 says, starting from its data.
//   0  CYCLES  of a run
//   1  SCRATCH, HC_SCRATCH after a reset
//   2  CYCLE   counter since reset, read only
//   3  TRAP    a write of 13 breaks an assertion, one of 14 calls $finish
//   256 + i    the ROM's word i, read only; any other address is error 1
`ifndef HC_SCRATCH
`define HC_SCRATCH 0
`endif
module hc_top #(
  parameter int RomWords = 16
) (
  input  logic        clk,
  input  logic        rst_n,
  input  logic        req_valid,
  output logic        req_ready,
  input  logic [1:0]  req_op,
  input  logic [15:0] req_addr,
  input  logic [31:0] req_data,
  output logic        rsp_valid,
  input  logic        rsp_ready,
  output logic [31:0] rsp_data,
  output logic [7:0]  rsp_error
);
  localparam logic [1:0] Write = 2'd1, Run = 2'd2;
  localparam int IndexWidth = $clog2(RomWords);

  logic [31:0] rom[RomWords];
  string folder;
  initial begin
    if (!$value$plusargs("hc_rom=%s", folder)) $fatal(1, "no +hc_rom=DIR");
    $readmemh({folder, "/words.hex"}, rom);
  end

  logic [31:0] cycles, scratch, cycle, left, sum;
  logic running;
  assign req_ready = !running && !rsp_valid;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      cycles    <= 1;
      scratch   <= `HC_SCRATCH;
      cycle     <= 0;
      left      <= 0;
      sum       <= 0;
      running   <= 0;
      rsp_valid <= 0;
      rsp_data  <= 0;
      rsp_error <= 0;
    end else begin
      cycle <= cycle + 1;
      if (rsp_valid && rsp_ready) rsp_valid <= 0;
      if (req_valid && req_ready) begin
        rsp_valid <= req_op != Run;
        running   <= req_op == Run;
        left      <= cycles;
        sum       <= scratch + req_data;
        rsp_error <= 0;
        if (req_op == Write && req_addr == 0) cycles <= req_data;
        if (req_op == Write && req_addr == 1) scratch <= req_data;
        if (req_op == Write && req_addr == 3 && req_data == 14) $finish;
        case (req_addr) inside
          0:             rsp_data <= cycles;
          1:             rsp_data <= scratch;
          2:             rsp_data <= cycle;
          3:             rsp_data <= 0;
          [256:16'(255 + RomWords)]: rsp_data <= rom[req_addr[IndexWidth-1:0]];
          default: begin
            rsp_data  <= 0;
            rsp_error <= 1;
          end
        endcase
      end
      if (running) begin
        left <= left - 1;
        sum  <= sum * 3 + rom[left[IndexWidth-1:0]];
        if (left == 1) begin
          running   <= 0;
          rsp_valid <= 1;
          rsp_data  <= sum;
        end
      end
`ifdef HC_UNSTEADY  // breaks the handshake
      if (rsp_valid && !rsp_ready) rsp_data <= ~rsp_data;
`endif
    end
  end

  // What the tests break on purpose.
  assert property (@(posedge clk) disable iff (!rst_n)
    !(req_valid && req_op == Write && req_addr == 3 && req_data == 13))
    else $error("the trap was sprung");
endmodule
